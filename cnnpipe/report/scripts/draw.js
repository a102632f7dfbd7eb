/** The first screen: the sheet, the answers of the networks, and what shows on it at first. */
const draw = (() => {
  const PACE = 26; // milliseconds for a point of the digit that draws itself
  /** A 3 of one stroke, in units of the sheet's side. */
  const EXAMPLE = arc(0.48, 0.3, 0.17, 0.15, -150, 90).concat(arc(0.48, 0.59, 0.19, 0.15, -90, 150));

  /** Points of an ellipse's arc; angles in degrees, clockwise from the right. */
  function arc(x, y, rx, ry, from, to) {
    const count = 18;
    return Array.from({ length: count }, (_, k) => {
      const angle = ((from + ((to - from) * k) / (count - 1)) * Math.PI) / 180;
      return ink.snap({ x: x + rx * Math.cos(angle), y: y + ry * Math.sin(angle), pressure: 1 });
    });
  }

  /**
   * Bring the first screen to life.
   *
   * Returns `pixels()`, what the networks see, or null, and `watch(element, listener)`: the listener is called
   * with ({pixels, results}) whenever the networks have answered while the element is shown, and when it is
   * shown again; results are null of an empty sheet.
   */
  function attach(root, { models, digits }) {
    const part = markup.parts(root);
    const cards = models.map((model, k) => markup.parts(part[`answer${k}`]));
    const listeners = [];
    /** @type {any} what the networks see, of `digit.prepare` */
    let seen = null;
    const results = models.map(() => null);
    let due = []; // numbers of the networks that have not answered yet
    let example = false; // whether the sheet shows what the page drew

    /** Ask all networks; the one whose maps are shown comes first, unless another has waited for longer. */
    function update() {
      due = [...new Set([...due, onStage(), ...models.keys()])];
      answer();
    }

    const onStage = () => Math.max(0, models.findIndex(({ name }) => name === state.get().network));

    // One network answers in each frame, so that the pen waits for no more than one.
    const answer = markup.everyFrame(() => {
      look();
      const turn = due.splice(0, seen && results.every(Boolean) ? 1 : due.length);
      for (const k of turn) {
        results[k] = seen ? network.run(models[k], seen.pixels, state.get().silenced) : null;
        paintAnswer(cards[k], results[k], digits.classes);
      }
      if (turn.includes(onStage())) stage.update(results);
      part.vote.textContent = due.length > 0 ? "" : disagreement(results, digits.classes);
      tell();
      if (due.length > 0) answer();
    });

    function tell() {
      for (const [element, listener] of listeners) {
        if (element.checkVisibility()) listener({ pixels: seen?.pixels ?? null, results });
      }
    }

    window.addEventListener("resize", tell); // a chapter was opened
    document.addEventListener("toggle", tell, { capture: true }); // or what was folded

    const preprocesses = () => state.get().preprocess ?? digits.boxed;

    /** What the networks see. Strokes on a ready image stay in its 28×28 pixels. */
    function look() {
      const { image } = board.shown();
      seen = digit.prepare(board.ink(), ink.SIDE, preprocesses() && !image);
      part.preprocess.checked = preprocesses();
      part.preprocess.disabled = image !== null;
      part.invitation.hidden = seen !== null && !example;
      board.mark((context) => seen?.preprocess && !example && markPreprocessing(context, seen));
      markPreset();
    }

    /** How what the networks see came about, in words, and what to outline on it. */
    function facts() {
      const { image, strokes } = board.shown();
      if (image) {
        const { image: index } = state.get();
        const found = digits.images.find((each) => each.index === index);
        const text = found ? captionOf(found, models, digits) : "Your picture";
        const drawn = strokes.length ? " Your strokes are made as small as its pixels." : "";
        return { text: `${text}. It is ${digits.side}×${digits.side} pixels already.${drawn}`, marks: [] };
      }
      if (!seen.preprocess) return { text: `The whole sheet, made ${digit.SIDE}×${digit.SIDE}.`, marks: [] };
      const { bounds, centre, frame } = seen;
      const [width, height] = [bounds.right - bounds.left, bounds.bottom - bounds.top];
      const box = [width, height].map((length) => colours.short(Number((length / frame.pixel).toFixed(1))));
      const off = [centre.x - (bounds.left + bounds.right) / 2, centre.y - (bounds.top + bounds.bottom) / 2];
      const moved = off.map((length) => colours.short(Number((-length / frame.pixel).toFixed(1))));
      const text =
        `Cropped to ${width}×${height} of ${ink.SIDE}×${ink.SIDE}, scaled to ${box.join("×")}, ` +
        `and moved by ${moved.join(" and ")} pixels so that the centre of mass is in the middle.`;
      return { text, marks: [boxOf(seen), { y: digit.SIDE / 2 - 0.5, x: digit.SIDE / 2 - 0.5 }] };
    }

    // A stroke that ended is answered within the next frames; speak after them.
    const finished = () => {
      update();
      if (!example) keep();
      markup.painted().then(() => (part.answers.textContent = spoken(results, models, digits.classes)));
    };

    let kept = {}; // what this section wrote into the state

    /** Write what is on the sheet into the state. */
    function keep() {
      const { image, strokes } = board.shown();
      const index = digits.images.find(({ pixels }) => pixels === image)?.index ?? null;
      kept = { image: index, picture: image && index === null ? picture.encode(image) : "", strokes };
      state.set(kept);
    }

    /** Show what the state says. */
    function load() {
      const { image, picture: text, strokes } = state.get();
      endExample();
      const pixels = digits.images.find(({ index }) => index === image)?.pixels ?? picture.decode(text);
      board.show({ image: pixels, strokes });
    }

    const board = pad.attach(part.pad, part.overlay, {
      penWidth: () => Number(root.querySelector("input[name=pen]:checked").value),
      changed: update,
      finished,
      began: endExample,
      announce: (text) => (part.penStatus.textContent = text),
    });
    const stage = zoom.attach(part.stage, { models, digits, facts });

    // The digit that draws itself once

    function showExample() {
      example = true;
      if (!digits.boxed) return board.show({ image: digits.images[0].pixels });
      const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      const start = performance.now();
      const width = 0.08;
      const next = () => {
        if (!example) return;
        const count = still ? EXAMPLE.length : Math.min(EXAMPLE.length, 1 + Math.floor((performance.now() - start) / PACE));
        board.preview({ points: EXAMPLE.slice(0, count), width });
        if (count < EXAMPLE.length) markup.nextFrame(next);
        else finished();
      };
      return next();
    }

    function endExample() {
      if (!example) return;
      example = false;
      board.forget();
    }

    function markPreset() {
      const { image } = board.shown();
      for (const button of part.presets.querySelectorAll("button")) {
        const shown = digits.images.find(({ index }) => String(index) === button.value);
        button.setAttribute("aria-pressed", String(!example && shown.pixels === image));
      }
    }

    for (const group of digits.groups) {
      const buttons = group.indices.map((index) => {
        const image = digits.images.find((each) => each.index === index);
        return presetButton(image, captionOf(image, models, digits), () => {
          endExample();
          board.show({ image: image.pixels });
        });
      });
      part.presets.append(
        markup.make("h3", { textContent: group.title }),
        markup.make("div", { className: "thumbnails" }, ...buttons),
      );
    }

    markup.toolbar(part.presets);

    models.forEach(({ name }, k) => {
      const { show } = cards[k];
      show.addEventListener("change", () => state.set({ network: k ? name : "", layer: "", map: null, pixel: null, term: null }));
    });
    part.clear.addEventListener("click", () => {
      endExample();
      board.reset();
    });
    part.undo.addEventListener("click", () => board.undo());
    part.preprocess.addEventListener("change", () => {
      state.set({ preprocess: part.preprocess.checked === digits.boxed ? null : part.preprocess.checked });
      finished();
    });
    const markNetwork = () =>
      models.forEach(({ name }, k) => (cards[k].show.checked = name === (state.get().network || models[0].name)));
    state.watch((values, changed) => {
      const isOther = ["image", "picture", "strokes"].some((name) => changed.has(name) && values[name] !== kept[name]);
      if (isOther) load();
      if (changed.has("silenced") || changed.has("preprocess")) update();
      markNetwork();
    });

    // A picture of the reader's: chosen, dropped, or pasted

    async function take(file) {
      if (!file) return;
      try {
        const image = await picture.read(file, digits.boxed);
        endExample();
        board.show({ image });
        part.problem.textContent = "";
      } catch (error) {
        part.problem.textContent = `${file.name}: ${/** @type {Error} */ (error).message}`;
      }
    }

    part.file.addEventListener("change", () => {
      take(part.file.files[0]);
      part.file.value = ""; // so that the same file can be chosen again
    });
    root.addEventListener("dragover", (event) => event.preventDefault());
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", ({ clipboardData }) => take(clipboardData?.files[0]));

    markNetwork();
    const { image, picture: text, strokes } = state.get();
    if (image !== null || text || strokes.length) load();
    else showExample();
    compare(models, digits, part.agreement);
    return { pixels: () => seen?.pixels ?? null, watch: (element, listener) => listeners.push([element, listener]) };
  }

  function captionOf({ index, label, answers }, models, { classes, copies }) {
    const given = models
      .filter(({ name }) => answers[name])
      .map(({ name, title }) => {
        const { prediction, confidence } = answers[name];
        const averaged = copies[name] > 1 ? ` (averaged over ${copies[name]} shifted copies)` : "";
        return `${title}: ${classes[prediction]}, ${colours.percent(confidence)}${averaged}`;
      });
    const byPyTorch = given.length ? `; PyTorch's answers: ${given.join("; ")}` : "";
    return `Test image ${index}, labelled ${classes[label]}${byPyTorch}`;
  }

  function presetButton({ index, pixels }, text, action) {
    const canvas = markup.make("canvas");
    colours.paint(canvas, pixels, digit.SIDE, colours.inkScale(0, 255));
    const button = markup.make("button", { type: "button", value: String(index), title: text, ariaLabel: text }, canvas);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", action);
    return button;
  }

  /** Where the crop lies among the network's pixels. */
  function boxOf({ bounds, frame }) {
    return {
      y: (bounds.top - frame.top) / frame.pixel,
      x: (bounds.left - frame.left) / frame.pixel,
      height: (bounds.bottom - bounds.top) / frame.pixel,
      width: (bounds.right - bounds.left) / frame.pixel,
    };
  }

  /** On the sheet: the crop, dashed, and a cross at the centre of mass. */
  function markPreprocessing(context, { bounds, centre }) {
    context.strokeStyle = "#c2540a";
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    const { left, top, right, bottom } = bounds;
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    context.beginPath();
    for (const [dx, dy] of [[7, 0], [0, 7]]) {
      context.moveTo(centre.x - dx, centre.y - dy);
      context.lineTo(centre.x + dx, centre.y + dy);
    }
    for (const [colour, thickness] of [["#ffffff", 4], ["#c2540a", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.stroke();
    }
  }

  function paintAnswer(card, result, classes) {
    card.class.textContent = result ? classes[result.prediction] : "–";
    card.confidence.textContent = result ? colours.percent(result.probabilities[result.prediction]) : "no drawing, no answer";
    card.time.textContent = result ? duration(result.milliseconds) : "";
    [...card.bars.tBodies[0].rows].forEach((row, k) => {
      const probability = result ? result.probabilities[k] : 0;
      row.classList.toggle("first", Boolean(result) && k === result.prediction);
      row.querySelector(".fill").style.setProperty("--part", `${100 * probability}%`);
      row.querySelector(".number").textContent = result ? colours.percent(probability) : "–";
    });
  }

  /** In whole milliseconds: not every browser's clock counts finer. */
  function duration(milliseconds) {
    return milliseconds < 1 ? "< 1 ms" : `${Math.round(milliseconds)} ms`;
  }

  function spoken(results, models, classes) {
    if (!results[0]) return "The sheet is empty: no prediction.";
    return results
      .map(({ prediction, probabilities }, k) => {
        const confidence = colours.percent(probabilities[prediction]);
        return `${models[k].title}: ${classes[prediction]}, ${confidence}.`;
      })
      .concat(disagreement(results, classes) || [])
      .join(" ");
  }

  /** What the networks answer together, in words, if they do not agree. */
  function disagreement(results, classes) {
    const first = results[0]?.prediction;
    if (!results.every(Boolean) || results.every(({ prediction }) => prediction === first)) return "";
    const { prediction, probability } = network.vote(results);
    const answer = `${classes[prediction]}: ${colours.percent(probability)}`;
    return `The networks disagree; the mean of their probabilities is largest for ${answer}.`;
  }

  /**
   * Hold this page's forward pass against PyTorch's: the probabilities of the predicted class and of the
   * label, which the evaluation wrote down. One image at a time, so that the page stays quick. Where the
   * evaluation averaged over shifted copies, there is nothing that one pass could be held against.
   */
  function compare(models, digits, note) {
    if (models.some(({ name }) => digits.copies[name] > 1)) {
      note.textContent =
        "This page answers for the one image that it is given. PyTorch's answers to test images were averaged over " +
        "shifted copies of each, so they may differ, and are not compared.";
      return;
    }
    const largest = models.map(() => 0);
    const images = digits.images.filter(({ answers }) => models.every(({ name }) => answers[name]));
    const next = (k) => {
      if (k === images.length) return report();
      const { pixels, label, answers } = images[k];
      models.forEach((model, m) => {
        const { probabilities } = network.run(model, pixels);
        const { prediction, confidence, probability_of_label: ofLabel } = answers[model.name];
        const differences = [probabilities[prediction] - confidence, probabilities[label] - ofLabel];
        largest[m] = Math.max(largest[m], ...differences.map(Math.abs));
      });
      return setTimeout(next, 0, k + 1);
    };
    const report = () => {
      if (!images.length) return;
      const each = models.map(({ title, precision }, m) => `${title} (${precision} weights) ${colours.short(largest[m])}`);
      note.textContent =
        `Measured in this browser just now, on the ${images.length} test images offered here: the largest ` +
        `difference between this page's probabilities and PyTorch's is ${each.join(", ")}.`;
    };
    setTimeout(next, 0, 0);
  }

  return { attach };
})();
