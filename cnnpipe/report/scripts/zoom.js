/**
 * The network, alive, and the way into it: all layers, one layer, one map, one pixel, one multiplication.
 *
 * Where the reader is stands in `state`: layer, map, pixel, term. Each press is a step that Escape, the
 * trail above and the browser's back take back.
 */
const zoom = (() => {
  const [BELOW, BESIDE, CLASSES] = [42, 52, 18]; // pixels for the layers' names, and for those of the classes
  const NARROW = 560; // pixels; less room has the layers below each other
  const QUICK = 3; // milliseconds; a network that takes longer gets its wires when the pen rests
  const VIEWS = ["layerView", "handView", "neuronView", "softmaxView", "inputView"];

  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  /** Bring the stage to life. `facts()` says how the image came about. Returns `update(results)`. */
  function attach(root, { models, digits, facts }) {
    const part = markup.parts(root);
    const hand = byHand.attach(part.handView);
    const cell = neuron.attach(part.neuronView);
    /** @type {(Result | null)[]} */
    let results = [];
    /** @type {any[]} of `journey.layout` */
    let columns = [];
    /** @type {any} of `journey.wiresOf`, for the result `wired` */
    let [wires, wired] = [null, null];
    let cursor = null; // {index, name, channel} under the mouse or the keys
    let layerCursor = 0; // the map that the keys are at in one layer's view

    const number = () => Math.max(0, models.findIndex(({ name }) => name === state.get().network));
    const model = () => /** @type {Model} */ (models[number()]);
    const result = () => /** @type {Result} */ (results[number()] ?? null); // null while the sheet is empty

    /** Where the reader is: the index of a layer, and the convolution or fully connected layer that made it. */
    function where() {
      const { layer, map } = state.get();
      const found = journey.layersOf(model()).find(({ name }) => name === layer);
      const index = found?.index ?? model().layers.findIndex(({ name }) => name === layer);
      if (!result() || (!found && index < 0)) return { view: null };
      const isEnd = index === -1 || index === model().layers.length;
      if (isEnd) return { index, view: index === -1 ? "inputView" : "softmaxView" };
      const { channels } = result().outputs[index];
      if (map === null || map < 0 || map >= channels) return { index, view: "layerView" };
      const made = model().layers.findLastIndex(({ kind }, k) => k <= index && (kind === "conv2d" || kind === "linear"));
      return { index, made, channel: map, view: model().layers[made].kind === "conv2d" ? "handView" : "neuronView" };
    }

    // What is shown

    const paint = markup.everyFrame(() => {
      const at = where();
      root.classList.toggle("zoomed", at.view !== null);
      for (const name of VIEWS) part[name].hidden = name !== at.view;
      part.stillEmpty.hidden = result() !== null;
      paintTrail(at);
      paintSilence(at);
      paintJourney(at);
      if (at.view === "layerView") paintLayer(at.index);
      if (at.view === "softmaxView") neuron.showSoftmax(part.softmax, result(), digits.classes);
      if (at.view === "inputView") paintInput();
      const view = { model: model(), result: result(), index: at.made, channel: at.channel };
      hand.show(at.view === "handView" ? view : null);
      cell.show(at.view === "neuronView" ? view : null);
    });

    function paintJourney(at) {
      const canvas = part.network;
      const { clientWidth: width, clientHeight: height } = canvas;
      const ratio = window.devicePixelRatio;
      markup.resize(canvas, Math.round(width * ratio), Math.round(height * ratio));
      const upright = width < NARROW && at.view === null;
      const small = at.view !== null;
      const named = Math.max(CLASSES, ...digits.classes.map((each) => 8 + 7 * each.length));
      const room = {
        width: width - (upright ? BESIDE : named) - 4,
        height: height - (upright ? CLASSES : small ? 4 : BELOW) - 4,
        upright,
      };
      const shown = result() ?? blank(model());
      columns = journey.layout(model(), shown, room);
      const context = canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      context.translate(2 + (upright ? BESIDE : 0), 2);
      const { color, outlineColor } = getComputedStyle(canvas);
      const marked = at.channel === undefined ? cursor : { index: shownAt(at.index), channel: at.channel };
      const flow = result() && wired === result() ? wires : null;
      journey.paint(context, columns, { model: model(), result: result(), wires: flow, marked, scheme: dark.matches ? "dark" : "light", rule: outlineColor });
      paintClasses(context, columns.at(-1), color, small);
      paintNames(upright, small);
    }

    /** The shown layer that a layer is part of: its own, or the activation behind it. */
    const shownAt = (index) => columns.find((column) => column.index >= index)?.index;

    /** The classes beside the probabilities; the answer stands out. */
    function paintClasses(context, column, colour, small) {
      context.fillStyle = colour;
      context.textBaseline = "middle";
      digits.classes.forEach((name, k) => {
        const { x, y, width, height } = journey.boxOf(column, k);
        const leads = result()?.prediction === k;
        if ((small || (column.upright && name.length > 2)) && !leads) return;
        context.font = `${leads ? "700 15px" : "12px"} system-ui, sans-serif`;
        context.textAlign = column.upright ? "center" : "left";
        if (column.upright) context.fillText(name, x + width / 2, y + height + 10);
        else context.fillText(name, x + width + 6, y + height / 2);
      });
    }

    /** The layers' names, which can be pressed: below their columns, or beside their rows. */
    function paintNames(upright, small) {
      const names = columns.map(({ name, maps }) => `${name} ${maps.channels} ${maps.height}`).join();
      if (part.names.dataset.names !== names) {
        part.names.dataset.names = names;
        part.names.replaceChildren(...columns.map(nameButton));
      }
      part.names.hidden = small;
      [...part.names.children].forEach(({ style }, k) => {
        const { start, extent } = columns[k];
        const middle = `${start + extent / 2 + 2}px`;
        Object.assign(style, upright ? { top: middle, left: "0" } : { left: middle, top: `calc(100% - ${BELOW - 2}px)` });
      });
      part.names.classList.toggle("upright", upright);
    }

    /** A name of two parts in two lines; a first part like that of the layer before is not said again. */
    function nameButton({ name, maps }, k) {
      const lines = journey.labelOf(name, maps);
      const size = lines.pop();
      const made = markup.make(
        "button",
        { type: "button", tabIndex: -1, title: name, ariaLabel: name },
        ...lines.map((line, n) => {
          const isSaid = n === 0 && lines.length > 1 && columns[k - 1].name.split("_")[0] === line;
          return markup.make("span", { textContent: line, className: isSaid ? "said" : "" });
        }),
        markup.make("small", { textContent: size }),
      );
      made.addEventListener("click", () => state.set({ layer: name, map: null, pixel: null, term: null }, { push: true }));
      return made;
    }

    /** The way here, each step of which leads back. */
    function paintTrail(at) {
      const { pixel, term } = state.get();
      const { layers } = model();
      /** @type {any[]} a text, and the place that it leads to */
      const steps = [["The whole network", { layer: "" }]];
      if (at.view) steps.push([at.index === -1 ? "image" : (layers[at.index]?.name ?? journey.SOFTMAX), { layer: state.get().layer }]);
      if (at.channel !== undefined) {
        const isMap = layers[at.made].kind === "conv2d";
        steps.push([`${isMap ? "map" : "neuron"} ${at.channel}`, { layer: state.get().layer, map: at.channel }]);
        if (pixel && isMap) steps.push([`row ${pixel[0]}, column ${pixel[1]}`, { layer: state.get().layer, map: at.channel, pixel }]);
        if (term && term[1] >= 0) steps.push(["one multiplication", null]);
      }
      const written = JSON.stringify(steps);
      if (part.trail.dataset.steps === written) return; // it is laid out already
      part.trail.dataset.steps = written;
      part.trail.replaceChildren(
        ...steps.map(([text, target], k) => {
          if (k === steps.length - 1) return markup.make("span", { textContent: text });
          const made = markup.make("button", { type: "button", textContent: text });
          made.addEventListener("click", () => go(target));
          return made;
        }),
      );
      part.trail.hidden = steps.length === 1;
    }

    /** The map or neuron that is looked at, as `state.silenced` names it; "" where no activation follows. */
    function keyOf({ made = -1, channel = -1 }) {
      const { activation = -1 } = channel < 0 ? {} : convolution.followers(model().layers, made);
      return activation < 0 ? "" : `${model().name}.${model().layers[activation].name}.${channel}`;
    }

    function paintSilence(at) {
      const { silenced } = state.get();
      const map = keyOf(at);
      part.silence.hidden = !map;
      part.silence.textContent = `Silence this ${at.view === "handView" ? "map" : "neuron"}`;
      part.silence.setAttribute("aria-pressed", String(silenced.includes(map)));
      part.restore.hidden = !silenced.length;
    }

    function paintLayer(index) {
      const maps = result().outputs[index];
      const scale = colours.scaleOf(maps.values);
      const { kind, name } = model().layers[index];
      featureMaps.paint(part.layerMaps, maps, scale, part.layerView.clientWidth, layerCursor);
      part.layerMaps.setAttribute("aria-label", featureMaps.describe(name, maps, scale));
      part.layerFacts.textContent =
        `${kind.replace("_", " ")}: ${maps.channels} ${maps.height * maps.width > 1 ? `maps of ${maps.height}×${maps.width}` : "neurons"}`;
      part.range.textContent = `${colours.short(scale.low)} to ${colours.short(scale.high)}`;
      part.bar.classList.toggle("signed", scale.low < 0);
    }

    function paintInput() {
      const { input } = result();
      const { text, marks } = facts();
      plane.paint(part.inputImage, input, 0, journey.imageScale(model()), { marks });
      part.imageFacts.textContent = text;
    }

    // How it is pointed at

    /** Go to a place; what is not named is not chosen. */
    function go(place) {
      cursor = null;
      state.set({ layer: "", map: null, pixel: null, term: null, ...place }, { push: true });
    }

    /** One level up; whether there was one. */
    function up() {
      const { layer, map, pixel, term } = state.get();
      if (where().view === null) return false;
      if (term && term[1] >= 0) go({ layer, map, pixel });
      else if (pixel) go({ layer, map });
      else go({});
      return true;
    }

    function open({ index, name, channel }) {
      layerCursor = 0;
      const isEnd = index === -1 || index === model().layers.length;
      go({ layer: name, map: isEnd ? null : channel });
    }

    function pointed(event) {
      const box = part.network.getBoundingClientRect();
      const upright = columns[0].upright;
      return journey.at(columns, event.clientX - box.left - 2 - (upright ? BESIDE : 0), event.clientY - box.top - 2);
    }

    function tell(at) {
      const usual = where().view ? "" : part.readout.dataset.usual;
      part.readout.textContent = at && result() ? readout(at) : usual;
    }

    function readout({ index, name, channel, y, x }) {
      if (index === -1) return y === undefined ? "The image that the network sees" : `The image, row ${y}, column ${x}`;
      const maps = journey.mapsOf(result(), index);
      if (index === model().layers.length) {
        return `softmax, ${digits.classes[channel]}: ${colours.percent(maps.values[channel])}`;
      }
      const isNeuron = maps.height * maps.width === 1;
      const values = maps.values.subarray(channel * maps.height * maps.width, (channel + 1) * maps.height * maps.width);
      const most = values.reduce((a, b) => Math.max(a, b));
      return `${name}, ${isNeuron ? "neuron" : "map"} ${channel}: ${isNeuron ? "" : "largest value "}${arithmetic.fixed(most)}`;
    }

    function pointAt(at) {
      cursor = at;
      tell(at);
      paint();
    }

    part.network.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") pointAt(pointed(event));
    });
    part.network.addEventListener("pointerleave", () => pointAt(null));
    part.network.addEventListener("click", (event) => {
      const at = pointed(event);
      if (at && result()) open(at);
    });
    part.network.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && cursor && result()) return open(cursor);
      const step = markup.ARROWS[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return null;
      event.preventDefault();
      const [along, across] = columns[0].upright ? step.toReversed() : step;
      const now = columns.findIndex(({ index }) => index === cursor?.index);
      const k = Math.min(columns.length - 1, Math.max(0, (now < 0 ? 0 : now) + along));
      const { index, name, maps } = columns[k];
      const before = cursor ? cursor.channel / columns[Math.max(0, now)].maps.channels : 0;
      const channel = along ? Math.floor(before * maps.channels) : (cursor?.channel ?? 0) + across;
      return pointAt({ index, name, channel: Math.min(maps.channels - 1, Math.max(0, channel)) });
    });
    part.network.addEventListener("focus", () => {
      if (!part.network.matches(":focus-visible") || cursor) return;
      pointAt({ index: columns[0].index, name: columns[0].name, channel: 0 });
    });
    part.network.addEventListener("blur", () => pointAt(null));

    part.silence.addEventListener("click", () => silence.toggle(keyOf(where())));
    part.restore.addEventListener("click", () => state.set({ silenced: [] }));

    const inLayer = (event) => featureMaps.pixelAt(part.layerMaps, event, journey.mapsOf(result(), where().index), part.layerView.clientWidth);
    part.layerMaps.addEventListener("pointermove", (event) => {
      const at = inLayer(event);
      tell(at && { ...at, index: where().index, name: state.get().layer });
    });
    part.layerMaps.addEventListener("click", (event) => {
      const at = inLayer(event);
      if (at) go({ layer: state.get().layer, map: at.channel });
    });
    part.layerMaps.addEventListener("keydown", (event) => {
      const { index } = where();
      if (event.key === "Enter") return go({ layer: state.get().layer, map: layerCursor });
      const { channels } = result().outputs[index];
      const { columns: width } = featureMaps.layout(result().outputs[index], part.layerView.clientWidth);
      const size = { height: Math.ceil(channels / width), width };
      const to = plane.step(event, { y: Math.floor(layerCursor / width), x: layerCursor % width }, size);
      if (!to) return null;
      layerCursor = Math.min(channels - 1, to.y * width + to.x);
      tell({ index, name: state.get().layer, channel: layerCursor });
      return paint();
    });

    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && up()) event.preventDefault();
    });

    /** The keyboard goes where the reader goes. */
    function focus() {
      const { view } = where();
      if (view && part.network.clientWidth < NARROW) root.scrollIntoView();
      if (!root.contains(document.activeElement) && document.activeElement !== document.body) return;
      if (view === "handView") hand.focus();
      else if (view === "neuronView") cell.focus();
      else if (view === "layerView") part.layerMaps.focus({ preventScroll: true });
      else if (view === null) part.network.focus({ preventScroll: true });
    }

    state.watch((_, changed) => {
      tell(null);
      paint();
      if (changed.has("layer") || changed.has("map")) markup.nextFrame(focus);
      if (changed.has("network")) update(results);
    });
    dark.addEventListener("change", paint);
    new ResizeObserver(paint).observe(part.network);

    // Wires take twice the time of the forward pass, so those of a slow network wait until the pen rests.
    const wire = () => {
      if (!result() || wired === result()) return;
      wires = journey.wiresOf(model(), result(), backward.run(model(), result(), result().prediction));
      wired = result();
      paint();
    };
    const wireLater = markup.rested(wire, 60);

    function update(next) {
      results = next;
      if (!cursor) tell(null);
      if (result() && result().milliseconds < QUICK) wire();
      else wireLater();
      paint();
    }

    tell(null);
    return { update };
  }

  const blanks = new Map();

  /** What a network gives out for no image: an empty sheet shows its shapes without the values. */
  function blank(model) {
    if (!blanks.has(model)) blanks.set(model, network.run(model, new Uint8Array(digit.SIDE ** 2)));
    return blanks.get(model);
  }

  return { attach };
})();
