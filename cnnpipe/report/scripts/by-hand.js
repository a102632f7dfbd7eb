"use strict";

/** The section in which one output pixel is computed step by step. */
const byHand = (() => {
  const DRAWING = "drawing";
  const STRONGEST = "strongest";
  const STAGES = ["input", "sum", "norm", "activation", "pool"];

  /**
   * Bring the section to life.
   *
   * `drawing()` gives the 28×28 pixels that the reader drew, or null. Returns `show(choice)`, with which
   * other sections point at a pixel, and `refresh()` for when the drawing has changed.
   */
  function attach(root, { models, digits, drawing }) {
    const part = markup.parts(root);
    const place = { y: 0, x: 0 };
    let [model, layerIndex, result] = [models[0], 0, null];

    const layer = () => model.layers[layerIndex];
    const input = () => (layerIndex === 0 ? result.input : result.outputs[layerIndex - 1]);
    const output = () => result.outputs[layerIndex];
    const channel = () => Number(part.channel.value);

    // What is chosen

    function pixels() {
      if (part.image.value === DRAWING) return drawing() ?? new Uint8Array(digits.side ** 2);
      return digits.images.find(({ index }) => String(index) === part.image.value).pixels;
    }

    function offerImages() {
      const images = digits.images.map(({ index, label }) => [
        index,
        `Test image ${index}: ${digits.classes[label]}`,
      ]);
      markup.fillSelect(part.image, drawing() ? [[DRAWING, "Your drawing"], ...images] : images);
    }

    function offerLayers() {
      const convolutions = model.layers
        .map((each, index) => [index, each])
        .filter(([, each]) => each.kind === "conv2d");
      markup.fillSelect(part.layer, convolutions.map(([index, each]) => [index, nameOf(each)]));
      layerIndex = Number(part.layer.value);
    }

    function offerChannels() {
      const [outChannels, inChannels] = layer().weight.shape;
      const numbers = (count) => Array.from({ length: count }, (_, k) => [k, `${k}`]);
      markup.fillSelect(part.channel, numbers(outChannels));
      const strongest = [STRONGEST, "strongest"];
      part.inChannelLabel.hidden = inChannels === 1;
      markup.fillSelect(part.inChannel, inChannels > 1 ? [strongest, ...numbers(inChannels)] : numbers(1));
      part.inChannel.selectedIndex = 0;
    }

    /** Run the network and show; the place stays where it is in the image, whatever the map's size. */
    function recompute(before = output()) {
      result = network.run(model, pixels());
      const { height, width } = output();
      place.y = Math.floor(((place.y + 0.5) * height) / before.height);
      place.x = Math.floor(((place.x + 0.5) * width) / before.width);
      walk.stop();
      paint();
    }

    function choose(name) {
      const before = output();
      if (name === "model") {
        model = models[part.model.value];
        offerLayers();
      }
      layerIndex = Number(part.layer.value);
      if (name === "model" || name === "layer") offerChannels();
      recompute(before);
    }

    // What is shown

    const paint = markup.everyFrame(() => {
      const terms = convolution.terms(layer(), input(), channel(), place.y, place.x);
      const chosen = chosenTerm(part.inChannel.value, terms);
      const following = convolution.followers(model.layers, layerIndex);
      const stages = stagesOf(following, chosen);
      for (const name of STAGES) paintStage(part, name, stages[name], channel());
      paintProducts(part, terms[chosen], layer(), stages.input.scale);
      paintSteps(part, { terms, chosen, layer: layer(), following, stages, channel: channel(), place, model });
      part.where.textContent = where();
    });

    function where() {
      const { height, width } = output();
      return `Output pixel in row ${place.y} of ${height}, column ${place.x} of ${width}`;
    }

    /** Each plane with its maps, scale and marks; absent where the network has no such layer. */
    function stagesOf({ norm, activation, pool }, inChannel) {
      const { height, width, padding } = convolution.geometryOf(layer());
      const upTo = walk.upTo();
      const here = { y: place.y, x: place.x };
      const patch = { y: place.y - padding, x: place.x - padding, height, width };
      const inputScale = layerIndex === 0 ? imageScale(model) : colours.scaleOf(input().values);
      const stages = {
        input: { maps: input(), map: inChannel, scale: inputScale, padding, marks: [patch], name: inputName() },
        sum: stage(layerIndex, {
          marks: [here],
          upTo,
          signed: true,
          title: layer().bias ? "Sum and bias" : "Sum",
        }),
      };
      if (norm !== undefined) stages.norm = stage(norm, { marks: [here], upTo, signed: true });
      if (activation !== undefined) stages.activation = stage(activation, { marks: [here], upTo });
      if (pool !== undefined) addPool(stages, pool, activation);
      return stages;
    }

    function stage(index, { signed, ...rest }) {
      const maps = result.outputs[index];
      return { maps, scale: colours.scaleOf(maps.values, signed), name: model.layers[index].name, ...rest };
    }

    function addPool(stages, pool, activation) {
      const size = model.layers[pool].kernel_size;
      const maps = result.outputs[activation];
      const pooled = convolution.poolingWindow(maps, size, channel(), place.y, place.x);
      const done = Math.min(walk.upTo(), maps.height * maps.width);
      const [row, column] = [Math.floor(done / maps.width), done % maps.width];
      const { width } = result.outputs[pool];
      const partial = row % size === size - 1 ? Math.floor(column / size) : 0;
      stages.pool = stage(pool, {
        marks: pooled ? [{ y: pooled.row, x: pooled.column }] : [],
        upTo: Math.floor(row / size) * width + partial,
        window: pooled,
      });
      if (pooled) {
        stages.activation.marks.push({ ...pooled.places[0], height: size, width: size });
      }
    }

    function inputName() {
      return layerIndex === 0 ? "image" : model.layers[layerIndex - 1].name;
    }

    // How it is pointed at

    function move({ y, x }, how) {
      Object.assign(place, { y, x });
      walk.stop();
      paint();
      if (how === "key") announce();
    }

    const announce = debounce(() => {
      const value = convolution.pixel(output(), channel(), place);
      part.status.textContent = `${where()}: ${arithmetic.fixed(value)}.`;
    });

    const walk = sweep.attach(part.sweep, { size: output, place, paint });

    const onOutput = { size: () => output(), place: () => place, move };
    for (const name of ["sum", "norm", "activation"]) plane.choose(part[`${name}Plane`], onOutput);
    // On the input the pointer is the middle of the window, on the pooled map a corner of its window.
    plane.choose(part.inputPlane, {
      size: () => ({ ...output(), ...sizeOf(input()), padding: layer().padding }),
      place: () => shifted(place, 1),
      move: (pixel, how) => move(within(shifted(pixel, -1)), how),
    });
    plane.choose(part.poolPlane, {
      size: () => result.outputs[convolution.followers(model.layers, layerIndex).pool],
      place: () => scaled((k, size) => Math.floor(k / size)),
      move: (pixel, how) => move(within(scaled((k, size) => k * size, pixel)), how),
    });

    function shifted({ y, x }, sign) {
      const { height, width, padding } = convolution.geometryOf(layer());
      const middle = (size) => sign * (Math.floor(size / 2) - padding);
      return { y: y + middle(height), x: x + middle(width) };
    }

    function scaled(change, { y, x } = place) {
      const size = model.layers[convolution.followers(model.layers, layerIndex).pool].kernel_size;
      return { y: change(y, size), x: change(x, size) };
    }

    function within({ y, x }) {
      const clamp = (k, size) => Math.min(size - 1, Math.max(0, k));
      return { y: clamp(y, output().height), x: clamp(x, output().width) };
    }

    part.channels.addEventListener("pointerdown", (event) => {
      const box = part.channels.getBoundingClientRect();
      const count = layer().weight.shape[1];
      const pointed = Math.floor(((event.clientX - box.left) / box.width) * count);
      part.inChannel.value = String(Math.min(count - 1, Math.max(0, pointed)));
      paint();
    });

    for (const name of ["image", "model", "layer", "channel"]) {
      part[name].addEventListener("change", () => choose(name));
    }
    part.inChannel.addEventListener("change", paint);
    part.allSums.addEventListener("toggle", paint);

    /** Point at a pixel of a map; `layer` may be any that follows the convolution. */
    function show(choice) {
      offerImages();
      part.image.value = choice.image === null ? DRAWING : String(choice.image);
      part.model.value = String(choice.model);
      choose("model");
      const index = model.layers.findLastIndex((each, k) => k <= choice.layer && each.kind === "conv2d");
      part.layer.value = String(index);
      choose("layer");
      part.channel.value = String(choice.channel);
      const step = model.layers[choice.layer].kernel_size ?? 1;
      Object.assign(place, { y: choice.y * step, x: choice.x * step });
      recompute();
      root.closest("section").scrollIntoView();
      part.sumPlane.focus({ preventScroll: true });
    }

    function refresh() {
      const isShown = part.image.value === DRAWING;
      offerImages();
      if (isShown) recompute();
    }

    markup.fillSelect(part.model, models.map(({ title }, k) => [k, title]));
    offerImages();
    offerLayers();
    offerChannels();
    result = network.run(model, pixels());
    place.y = Math.floor(output().height / 2);
    place.x = Math.floor(output().width / 2);
    paint();
    return { refresh, show };
  }

  const sizeOf = ({ height, width }) => ({ height, width });

  function nameOf({ name, weight }) {
    const [outChannels, inChannels, height, width] = weight.shape;
    return `${name}: ${inChannels} → ${outChannels}, ${height}×${width}`;
  }

  /** Of normalised images: from paper to full ink. */
  function imageScale({ normalization: { mean, std } }) {
    return colours.inkScale(-mean / std, (1 - mean) / std);
  }

  function chosenTerm(value, terms) {
    if (value !== STRONGEST) return Number(value);
    return terms.reduce((best, { sum }, k) => (Math.abs(sum) > Math.abs(terms[best].sum) ? k : best), 0);
  }

  function paintStage(part, name, stage, channel) {
    const figure = part[`${name}Figure`];
    figure.hidden = !stage;
    if (!stage) return;
    const canvas = part[`${name}Plane`];
    plane.paint(canvas, stage.maps, stage.map ?? channel, stage.scale, stage);
    part[`${name}Layer`].textContent = stage.name;
    if (name === "sum") part.sumTitle.textContent = stage.title;
    const { height, width } = stage.maps;
    part[`${name}Facts`].textContent =
      `map ${stage.map ?? channel}, ${height}×${width}; ` +
      `${colours.short(stage.scale.low)} to ${colours.short(stage.scale.high)}`;
  }

  function paintProducts(part, { patch, kernel, products }, layer, inputScale) {
    const width = layer.weight.shape[3];
    arithmetic.fill(part.patch, patch, width, inputScale);
    arithmetic.fill(part.kernel, kernel, width, colours.scaleOf(layer.weight.values, true));
    arithmetic.fill(part.products, products, width, colours.scaleOf(products, true));
  }

  /** The sentence of arithmetic under the grids, from the products to the pooled value. */
  function paintSteps(part, { terms, chosen, layer, following, stages, channel, place, model }) {
    const { fixed } = arithmetic;
    const value = (stage) => convolution.pixel(stage.maps, channel, place);
    const total = terms.reduce((sum, term) => sum + term.sum, 0);
    part.chosenName.textContent =
      terms.length > 1 ? `Products of input channel ${chosen}` : "Products of the one input channel";
    part.chosenSum.textContent = fixed(terms[chosen].sum);
    part.channelsStep.hidden = terms.length === 1;
    if (terms.length > 1) paintChannels(part, terms, chosen, total);
    part.biasName.textContent = layer.bias ? "Plus the bias" : "No bias: batch normalisation shifts instead";
    part.biasWork.textContent = layer.bias ? `${fixed(total)} + ${fixed(layer.bias.values[channel])}` : "";
    part.biasValue.textContent = fixed(value(stages.sum));

    part.normStep.hidden = !stages.norm;
    if (stages.norm) {
      const { scale, shift } = network.batchNormLine(model.layers[following.norm], channel);
      part.normWork.textContent = `${fixed(value(stages.sum))} · ${fixed(scale)} + ${fixed(shift)}`;
      part.normValue.textContent = fixed(value(stages.norm));
    }
    part.activationStep.hidden = !stages.activation;
    if (stages.activation) {
      const { kind } = model.layers[following.activation];
      part.activationName.textContent = ACTIVATIONS[kind].title;
      part.activationWork.textContent = ACTIVATIONS[kind].work(fixed(value(stages.norm ?? stages.sum)));
      part.activationValue.textContent = fixed(value(stages.activation));
    }
    paintPoolStep(part, stages, model.layers[following.pool]);
  }

  const ACTIVATIONS = {
    relu: { title: "ReLU", work: (x) => `max(0, ${x})` },
    tanh: { title: "tanh", work: (x) => `tanh(${x})` },
    sigmoid: { title: "Sigmoid", work: (x) => `1 / (1 + exp(−(${x})))` },
  };

  function paintPoolStep(part, { pool, activation }, layer) {
    part.poolStep.hidden = !pool;
    if (!pool) return;
    const isMax = layer.kind === "max_pool2d";
    const size = `${layer.kernel_size}×${layer.kernel_size}`;
    part.poolName.textContent = isMax ? `Largest of its ${size} window` : `Mean of its ${size} window`;
    part.poolWindow.hidden = !pool.window;
    if (!pool.window) {
      part.poolValue.textContent = "–";
      part.poolName.textContent = "Outside of every pooling window: the map's size is odd";
      return;
    }
    const { values } = pool.window;
    const top = Math.max(...values);
    const strong = isMax ? values.indexOf(top) : -1;
    arithmetic.fill(part.poolWindow, values, layer.kernel_size, activation.scale, strong);
    const result = isMax ? top : values.reduce((a, b) => a + b, 0) / values.length;
    part.poolValue.textContent = arithmetic.fixed(result);
  }

  /** A row of cells, one for each number; the chosen one is outlined. */
  function paintStrip(canvas, values, chosen) {
    canvas.width = canvas.clientWidth;
    canvas.height = canvas.clientHeight;
    const scale = colours.scaleOf(values, true);
    const context = canvas.getContext("2d");
    const edge = (k) => Math.round((k * canvas.width) / values.length);
    values.forEach((value, k) => {
      context.fillStyle = colours.css(scale.colour(value));
      context.fillRect(edge(k), 0, edge(k + 1) - edge(k), canvas.height);
    });
    context.lineWidth = 2;
    context.strokeRect(edge(chosen) + 1, 1, edge(chosen + 1) - edge(chosen) - 2, canvas.height - 2);
  }

  /** What every input channel adds, as a strip of colours and, when asked for, as a table. */
  function paintChannels(part, terms, chosen, total) {
    const sums = terms.map(({ sum }) => sum);
    paintStrip(part.channels, sums, chosen);
    part.channelsName.textContent = `Sum over all ${terms.length} input channels`;
    part.channelsSum.textContent = arithmetic.fixed(total);
    if (!part.allSums.open) return;
    part.sumsTable.tBodies[0].replaceChildren(
      ...sums.map((sum, k) =>
        markup.make(
          "tr",
          {},
          markup.make("th", { scope: "row", textContent: String(k) }),
          markup.make("td", { className: "number", textContent: arithmetic.fixed(sum) }),
        ),
      ),
    );
  }

  /** The action, once nothing has asked for it for a while: a screen reader is not interrupted. */
  function debounce(action) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(action, 300);
    };
  }

  return { attach };
})();
