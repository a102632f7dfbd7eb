"use strict";

/** The section in which one output pixel is computed step by step. */
const byHand = (() => {
  const DRAWING = "drawing";
  const STRONGEST = "strongest";
  const STAGES = ["input", "sum", "norm", "activation", "pool"];
  const ACTIVATIONS = {
    relu: (x) => ({ Name: "ReLU", Work: `max(0, ${x})` }),
    tanh: (x) => ({ Name: "tanh", Work: `tanh(${x})` }),
    sigmoid: (x) => ({ Name: "Sigmoid", Work: `1 / (1 + exp(−(${x})))` }),
  };

  /**
   * Bring the section to life.
   *
   * `drawing()` gives the 28×28 pixels that the reader drew, or null. Returns `show(choice)`, with which
   * other sections point at a pixel, and `refresh()` for when the drawing has changed.
   */
  function attach(root, { models, digits, drawing }) {
    const part = markup.parts(root);
    let [model, layerIndex, result] = [models[0], 0, null];

    const layer = () => model.layers[layerIndex];
    const input = () => (layerIndex === 0 ? result.input : result.outputs[layerIndex - 1]);
    const output = () => result.outputs[layerIndex];
    const channel = () => Number(part.channel.value);
    const following = () => convolution.followers(model.layers, layerIndex);

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
      const convolutions = [...model.layers.entries()].filter(([, { kind }]) => kind === "conv2d");
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
      walk.rescale(before);
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
      const stages = stagesOf(chosen);
      for (const name of STAGES) paintStage(name, stages[name]);
      paintProducts(terms[chosen], stages.input.scale);
      paintSteps(terms, chosen, stages);
      part.where.textContent = where();
    });

    function where() {
      const { height, width } = output();
      return `Output pixel in row ${place.y} of ${height}, column ${place.x} of ${width}`;
    }

    /** Each plane with its maps, scale and marks; absent where the network has no such layer. */
    function stagesOf(inChannel) {
      const { norm, activation, pool } = following();
      const { height, width, padding } = convolution.geometryOf(layer());
      const patch = { y: place.y - padding, x: place.x - padding, height, width };
      const walked = () => ({ marks: [{ ...place }], upTo: walk.upTo() });
      const stages = {
        input: {
          maps: input(),
          map: inChannel,
          scale: layerIndex === 0 ? imageScale(model) : colours.scaleOf(input().values),
          padding,
          marks: [patch],
          name: layerIndex === 0 ? "image" : model.layers[layerIndex - 1].name,
        },
        sum: stage(layerIndex, { ...walked(), signed: true }),
      };
      if (norm !== undefined) stages.norm = stage(norm, { ...walked(), signed: true });
      if (activation !== undefined) stages.activation = stage(activation, walked());
      if (pool !== undefined) addPool(stages, pool);
      return stages;
    }

    function stage(index, { signed, ...marked }) {
      const [maps, made] = [result.outputs[index], model.layers[index]];
      const scale = colours.scaleOf(maps.values, signed);
      return { maps, map: channel(), scale, layer: made, name: made.name, ...marked };
    }

    function addPool(stages, pool) {
      const size = model.layers[pool].kernel_size;
      const { maps, marks } = stages.activation;
      const pooled = convolution.poolingWindow(maps, size, channel(), place.y, place.x);
      const done = Math.min(walk.upTo(), maps.height * maps.width);
      const [row, column] = [Math.floor(done / maps.width), done % maps.width];
      const { width } = result.outputs[pool];
      const partial = row % size === size - 1 ? Math.floor(column / size) : 0;
      stages.pool = stage(pool, {
        marks: pooled ? [{ y: pooled.row, x: pooled.column }] : [],
        upTo: Math.floor(row / size) * width + partial,
        window: pooled?.values,
      });
      if (pooled) marks.push({ ...pooled.places[0], height: size, width: size });
    }

    function paintStage(name, shown) {
      part[`${name}Figure`].hidden = !shown;
      if (!shown) return;
      const { maps, map, scale } = shown;
      plane.paint(part[`${name}Plane`], maps, map, scale, shown);
      part[`${name}Layer`].textContent = shown.name;
      part[`${name}Facts`].textContent =
        `map ${map}, ${maps.height}×${maps.width}; ${colours.short(scale.low)} to ${colours.short(scale.high)}`;
      if (name === "sum") part.sumTitle.textContent = layer().bias ? "Sum and bias" : "Sum";
    }

    function paintProducts({ patch, kernel, products }, inputScale) {
      const { values, shape } = layer().weight;
      const width = shape[3];
      arithmetic.fill(part.patch, patch, width, inputScale);
      arithmetic.fill(part.kernel, kernel, width, colours.scaleOf(values, true));
      arithmetic.fill(part.products, products, width, colours.scaleOf(products, true));
    }

    /** The sentence of arithmetic under the grids, from the products to the pooled value. */
    function paintSteps(terms, chosen, { sum, norm, activation, pool }) {
      const { fixed } = arithmetic;
      const value = ({ maps }) => fixed(convolution.pixel(maps, channel(), place));
      const total = fixed(terms.reduce((all, term) => all + term.sum, 0));
      const { bias } = layer();
      const several = terms.length > 1;
      paintStep("chosen", {
        Name: several ? `Products of input channel ${chosen}` : "Products of the one input channel",
        Value: fixed(terms[chosen].sum),
      });
      paintStep("channels", several && { Name: `Sum over all ${terms.length} input channels`, Value: total });
      if (several) paintChannels(terms, chosen);
      paintStep("bias", {
        Name: bias ? "Plus the bias" : "No bias: batch normalisation shifts instead",
        Work: bias ? `${total} + ${fixed(bias.values[channel()])}` : "",
        Value: value(sum),
      });
      paintStep("norm", norm && { Work: normWork(norm, value(sum)), Value: value(norm) });
      paintStep(
        "activation",
        activation && { ...ACTIVATIONS[activation.layer.kind](value(norm ?? sum)), Value: value(activation) },
      );
      paintStep("pool", pool && paintPool(pool, activation.scale));
    }

    /** A line of the sentence with its texts by their place in it; without texts it is hidden. */
    function paintStep(name, texts) {
      part[`${name}Step`].hidden = !texts;
      for (const [at, text] of Object.entries(texts || {})) part[name + at].textContent = text;
    }

    function normWork(norm, x) {
      const { scale, shift } = network.batchNormLine(norm.layer, channel());
      return `${x} · ${arithmetic.fixed(scale)} + ${arithmetic.fixed(shift)}`;
    }

    /** The pooling window's numbers; returns the texts of the line. */
    function paintPool({ layer: { kind, kernel_size: size }, window: values }, scale) {
      part.poolWindow.hidden = !values;
      if (!values) return { Name: "Outside of every pooling window: the map's size is odd", Value: "–" };
      const isMax = kind === "max_pool2d";
      const top = Math.max(...values);
      arithmetic.fill(part.poolWindow, values, size, scale, isMax ? values.indexOf(top) : -1);
      return {
        Name: `${isMax ? "Largest" : "Mean"} of its ${size}×${size} window`,
        Value: arithmetic.fixed(isMax ? top : values.reduce((a, b) => a + b, 0) / values.length),
      };
    }

    /** What every input channel adds, as a strip of colours and, when asked for, as a table. */
    function paintChannels(terms, chosen) {
      const sums = terms.map(({ sum }) => sum);
      paintStrip(part.channels, sums, chosen);
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

    // How it is pointed at

    const walk = sweep.attach(part.sweep, { size: output, paint });
    const { place } = walk;

    function move(pixel, how) {
      walk.moveTo(pixel);
      if (how === "key") announce();
    }

    const announce = debounce(() => {
      const value = convolution.pixel(output(), channel(), place);
      part.status.textContent = `${where()}: ${arithmetic.fixed(value)}.`;
    });

    const onOutput = { size: output, place: () => place, move };
    for (const name of ["sum", "norm", "activation"]) plane.choose(part[`${name}Plane`], onOutput);
    // On the input the pointer is the middle of the window, on the pooled map a corner of its window.
    plane.choose(part.inputPlane, {
      size: () => ({ ...output(), height: input().height, width: input().width, padding: layer().padding }),
      place: () => shifted(place, 1),
      move: (pixel, how) => move(plane.within(shifted(pixel, -1), output()), how),
    });
    plane.choose(part.poolPlane, {
      size: () => result.outputs[following().pool],
      place: () => ({ y: Math.floor(place.y / poolSize()), x: Math.floor(place.x / poolSize()) }),
      move: ({ y, x }, how) => move(plane.within({ y: y * poolSize(), x: x * poolSize() }, output()), how),
    });

    const poolSize = () => model.layers[following().pool].kernel_size;

    function shifted({ y, x }, sign) {
      const { height, width, padding } = convolution.geometryOf(layer());
      const middle = (size) => sign * (Math.floor(size / 2) - padding);
      return { y: y + middle(height), x: x + middle(width) };
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
      walk.moveTo({ y: choice.y * step, x: choice.x * step });
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
    walk.moveTo({ y: Math.floor(output().height / 2), x: Math.floor(output().width / 2) });
    return { refresh, show };
  }

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
