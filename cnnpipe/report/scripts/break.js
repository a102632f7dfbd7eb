/** Break it: sliders that corrupt the image on the sheet, while both networks answer over the measured curves. */
const breaking = (() => {
  const ZOOM = 10; // screen pixels for one of the image's

  /** How strongly a slider's corruption acts, as the measured curve counts it. */
  const severity = {
    shift: ({ down = 0, right = 0 }) => Math.max(Math.abs(down), Math.abs(right)),
    rotation: ({ rotation = 0 }) => Math.abs(rotation),
    scale: ({ scale = 0 }) => Math.abs(scale),
    noise: ({ noise = 0 }) => noise,
    blur: ({ blur = 0 }) => blur,
    inversion: ({ inversion = 0 }) => inversion,
    occlusion: ({ occlusion = 0 }) => occlusion,
  };

  function attach(root, { models, digits, robustness, drawn }) {
    const part = markup.parts(root);
    const sliders = [...root.querySelectorAll("input[type=range]")];
    const cards = models.map((_, k) => markup.parts(part[`broken${k}`]));
    const adapted = models.map((model) => ({
      ...model,
      layers: model.layers.map((layer) => ({ ...layer, ownStatistics: true })),
    }));
    const known = models.map(({ embedding }) => doubt.unpack(embedding));
    const marks = drawCurves();
    let before = models.map(() => null); // answers to the image as it is

    /** The curve behind each corruption's sliders; returns what moves its mark. */
    function drawCurves() {
      const found = {};
      for (const row of root.querySelectorAll("[data-corruption]")) {
        const name = row.dataset.corruption;
        const measured = robustness[name];
        if (!measured) continue;
        const lines = models.filter((model) => measured[model.name]);
        const ends = lines.map(({ name: key, title }) => `${title} from ${colours.percent(measured[key][0])} to ${colours.percent(measured[key].at(-1))}`);
        const label = `Measured accuracy under ${name}: ${ends.join(", ")}`;
        const move = curve.draw(row.querySelector("svg"), measured.severity, lines.map(({ name: key }) => measured[key]), label);
        found[name] = (chosen) => {
          const x = Math.min(severity[name](chosen), measured.severity.at(-1));
          move(x);
          const there = lines.map(({ name: key, title }) => `${title} ${colours.percent(curve.between(measured.severity, measured[key], x))}`);
          row.querySelector(".measured").textContent = there.join(", ");
        };
      }
      return found;
    }

    const update = markup.everyFrame(() => {
      const { distortion: chosen, ownStatistics, silenced } = state.get();
      if (part.own) part.own.checked = ownStatistics;
      for (const slider of sliders) {
        slider.value = chosen[slider.name] ?? 0;
        root.querySelector(`output[for="${slider.id}"]`).textContent = colours.short(Number(slider.value));
      }
      for (const move of Object.values(marks)) move(chosen);
      part.reset.disabled = Object.keys(chosen).length === 0;
      const pixels = drawn.pixels();
      part.nothing.hidden = pixels !== null;
      const broken = pixels && distort.apply(pixels, chosen);
      paint(broken);
      models.forEach((model, k) => {
        const result = broken && network.run(ownStatistics ? adapted[k] : model, broken, silenced);
        show(cards[k], result, before[k], known[k]);
      });
    });

    function paint(pixels) {
      const maps = network.stack(1, digit.SIDE, digit.SIDE);
      if (pixels) maps.values.set(pixels);
      plane.paint(part.image, maps, 0, colours.inkScale(0, 255), {});
      part.image.style.width = `${ZOOM * digit.SIDE}px`;
    }

    function show(card, result, was, neighbours) {
      card.class.textContent = result ? digits.classes[result.prediction] : "–";
      card.confidence.textContent = result ? colours.percent(result.probabilities[result.prediction]) : "";
      const changed = result && was && result.prediction !== was.prediction;
      card.class.classList.toggle("changed", Boolean(changed));
      const doubtful = result && neighbours && doubt.distance(result, neighbours) > neighbours.usual;
      const words = [changed ? `before: ${digits.classes[was.prediction]}` : "", doubtful ? "doubtful: unlike every training image" : ""];
      card.note.textContent = words.filter(Boolean).join("; ");
    }

    /** Set sliders; what is 0 is left out, so that the address stays short. */
    function choose(patch) {
      const chosen = { ...state.get().distortion, ...patch };
      state.set({ distortion: Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== 0)) });
    }

    /** Put the patch where the reader pressed, or move it by arrow keys. */
    function place(y, x) {
      const { occlusion: side = 6 } = state.get().distortion;
      const inside = (value) => Math.min(digit.SIDE - side, Math.max(1, Math.round(value)));
      choose({ occlusion: side, top: inside(y), left: inside(x) });
    }

    part.image.addEventListener("pointerdown", (event) => {
      const box = part.image.getBoundingClientRect();
      const pixel = box.width / digit.SIDE;
      const half = (state.get().distortion.occlusion ?? 6) / 2;
      place((event.clientY - box.top) / pixel - half, (event.clientX - box.left) / pixel - half);
    });
    part.image.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const { occlusion: side = 6, top, left } = state.get().distortion;
      const middle = Math.floor((digit.SIDE - side) / 2);
      place((top ?? middle) + step[0], (left ?? middle) + step[1]);
    });
    for (const slider of sliders) slider.addEventListener("input", () => choose({ [slider.name]: Number(slider.value) }));
    for (const button of root.querySelectorAll("[data-try]")) {
      button.addEventListener("click", () => state.set({ distortion: JSON.parse(button.dataset.try) }));
    }
    part.reset.addEventListener("click", () => state.set({ distortion: {} }));
    part.own?.addEventListener("change", () => state.set({ ownStatistics: part.own.checked }));
    state.watch((_, changed) => (changed.has("distortion") || changed.has("ownStatistics")) && update());
    drawn.watch(root, ({ results }) => {
      before = results;
      update();
    });
  }

  return { attach };
})();
