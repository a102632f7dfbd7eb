/**
 * Filters: every kernel on its own scale, drawn from the weights, and buttons that silence a filter.
 *
 * A silenced filter's map is set to zero after the activation, as reports/explanation/<network>/filters.csv
 * measures it; `state.silenced` holds the maps.
 */
const silence = (() => {
  const LINE = 1; // between kernels, pixels

  /** Silence a map, or restore it. */
  function toggle(map) {
    const { silenced } = state.get();
    state.set({ silenced: silenced.includes(map) ? silenced.filter((each) => each !== map) : [...silenced, map] });
  }

  /** How the kernels of a layer lie: filters in rows, their kernels side by side, in as many columns as fit. */
  function layout([filters, inputs, height, width], room) {
    const zoom = inputs === 1 ? 12 : inputs <= 16 ? 3 : 2;
    const [across, down] = [inputs * (width * zoom + LINE) + 3 * zoom, height * zoom + LINE + (inputs === 1 ? 2 * zoom : 0)];
    const columns = Math.min(filters, Math.max(1, Math.floor(room / across)));
    return { zoom, across, down, columns, rows: Math.ceil(filters / columns) };
  }

  /** Paint all kernels of a convolution, each filter relative to its largest magnitude. */
  function paintKernels(canvas, { weight }, room) {
    const { shape, values } = weight;
    const [filters, inputs, height, width] = shape;
    const { zoom, across, down, columns, rows } = layout(shape, room);
    const size = height * width;
    const store = document.createElement("canvas");
    markup.resize(canvas, columns * across, rows * down);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.fillStyle = colours.css(colours.GAP);
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (let filter = 0; filter < filters; filter++) {
      const own = values.subarray(filter * inputs * size, (filter + 1) * inputs * size);
      colours.paint(store, own, width, colours.scaleOf(own, true));
      const [left, top] = [Math.floor(filter / rows) * across, (filter % rows) * down];
      for (let c = 0; c < inputs; c++) {
        const x = left + c * (width * zoom + LINE);
        context.drawImage(store, 0, c * height, width, height, x, top, width * zoom, height * zoom);
      }
    }
  }

  function attach(root, { models, digits, drawn }) {
    for (const host of root.querySelectorAll("[data-convolution]")) {
      const model = models.find(({ name }) => name === host.dataset.network);
      attachLayer(host, model, digits, drawn);
    }
  }

  function attachLayer(host, model, digits, drawn) {
    const { convolution: name } = host.dataset;
    const layer = model.layers.find((each) => each.name === name);
    const part = markup.parts(host);
    const plate = host.closest("details").querySelector(".plate"); // all kernels on one scale
    const buttons = [...host.querySelectorAll("button[data-filter]")];
    const after = model.layers[convolution.followers(model.layers, model.layers.indexOf(layer)).activation].name;
    const key = (filter) => `${model.name}.${after}.${filter}`;

    /** The kernels on their own scales in place of those on one. */
    function paint() {
      plate.hidden = part.own.checked;
      part.kernels.hidden = !part.own.checked;
      if (part.own.checked && host.offsetParent) paintKernels(part.kernels, layer, host.clientWidth);
    }

    function mark({ silenced }) {
      for (const button of buttons) button.setAttribute("aria-pressed", String(silenced.includes(key(button.dataset.filter))));
    }

    const ours = ({ silenced }) => silenced.filter((each) => each.startsWith(`${model.name}.`));

    /** What the silence changes: the answer to the image on the sheet, and what was measured of a single filter. */
    function tell() {
      const silenced = ours(state.get());
      part.restore.hidden = silenced.length === 0;
      part.told.textContent = silenced.length ? `${answers(silenced)}${measured(silenced)}` : "";
    }

    function answers(silenced) {
      const pixels = drawn.pixels();
      if (!pixels) return "";
      const [whole, without] = [[], silenced].map((each) => network.run(model, pixels, each));
      const said = ({ prediction, probabilities }) => `${digits.classes[prediction]}, ${colours.percent(probabilities[prediction])}`;
      const maps = silenced.length === 1 ? "one map" : `${silenced.length} maps`;
      return `The image on the sheet: ${said(without)} without ${maps}; ${said(whole)} with all. `;
    }

    function measured(silenced) {
      const alone = silenced.length === 1 && buttons.find(({ dataset }) => key(dataset.filter) === silenced[0]);
      return alone && alone.title ? `${alone.title}.` : "";
    }

    for (const button of buttons) {
      button.addEventListener("click", () => toggle(key(button.dataset.filter)));
    }
    markup.toolbar(host.querySelector(".filters"));
    part.restore.addEventListener("click", () => state.set({ silenced: [] }));
    part.own.addEventListener("change", paint);
    window.addEventListener("resize", paint);
    state.watch((values, changed) => {
      if (!changed.has("silenced")) return;
      mark(values);
      tell();
    });
    // The image on the sheet may change with every frame, and this is told to screen readers: when it rests.
    drawn.watch(host, markup.rested(tell));
    mark(state.get());
    tell();
    paint();
  }

  return { attach, toggle };
})();
