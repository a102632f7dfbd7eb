/** One map of a convolution, and one of its pixels computed step by step. */
const byHand = (() => {
  const STAGES = ["input", "sum", "norm", "activation", "pool"];
  const ACTIVATIONS = {
    relu: (x) => ({ Name: "ReLU", Work: `max(0, ${x})` }),
    tanh: (x) => ({ Name: "tanh", Work: `tanh(${x})` }),
    sigmoid: (x) => ({ Name: "Sigmoid", Work: `1 / (1 + exp(−(${x})))` }),
  };
  const NO_ENTRY = -1; // of a kernel, where only the input map is chosen

  /** Bring the view to life. Returns `show(view)`, a view being {model, result, index, channel}. */
  function attach(root) {
    const part = markup.parts(root);
    let view = null;
    let pointed = null; // the pixel under the mouse, which shows while none is pinned

    const layer = () => view.model.layers[view.index];
    const input = () => journey.mapsOf(view.result, view.index - 1);
    const output = () => view.result.outputs[view.index];
    const inkShown = () => view.index === 0 && state.get().ink;
    const following = () => convolution.followers(view.model.layers, view.index);

    /** The pixel that is computed: the pinned one, or the one under the mouse, or the strongest. */
    function place() {
      const { pixel } = state.get();
      if (pixel) return plane.within({ y: pixel[0], x: pixel[1] }, output());
      return pointed ? plane.within(pointed, output()) : strongest();
    }

    function strongest() {
      const { activation } = following();
      return plane.strongest(activation === undefined ? output() : view.result.outputs[activation], view.channel);
    }

    // What is shown

    const paint = markup.everyFrame(() => {
      if (!view) return;
      const at = place();
      const { terms, bias } = summands(at);
      const [chosen, entry] = chosenTerm(terms);
      const stages = stagesOf(at, chosen, entry);
      for (const name of STAGES) paintStage(name, stages[name]);
      const shown = shownNumbers(terms, chosen, bias, convolution.pixel(output(), view.channel, at));
      paintProducts(terms[chosen], shown, inkShown() ? colours.inkScale(0, 1) : stages.input.scale, entry);
      paintSteps(terms, chosen, shown, stages, at);
      paintTerm(terms[chosen], chosen, entry, at);
      part.where.textContent = `${where(at)}${state.get().pixel ? "" : pointed ? "" : ", the strongest"}`;
      part.normalising.hidden = view.index > 0;
      part.frame.hidden = !layer().padding;
      part.inkShown.checked = state.get().ink;
    });

    /** What is added up at a pixel, as `convolution.terms` has it, and the bias. */
    function summands({ y, x }) {
      const terms = convolution.terms(layer(), input(), view.channel, y, x);
      const bias = layer().bias?.values[view.channel] ?? 0;
      if (!inkShown()) return { terms, bias };
      const { mean, std } = view.model.normalization;
      const [{ patch, kernel, sum }] = terms;
      const [ink, divided] = [patch.map((value) => value * std + mean), kernel.map((weight) => weight / std)];
      const products = ink.map((value, k) => value * divided[k]);
      const total = products.reduce((a, b) => a + b, 0);
      return { terms: [{ patch: ink, kernel: divided, products, sum: total }], bias: bias + sum - total };
    }

    function where({ y, x }) {
      const { height, width } = output();
      return `Row ${y} of ${height}, column ${x} of ${width}`;
    }

    /** The input map and the entry of the kernel that the reader chose, else the map that adds most. */
    function chosenTerm(terms) {
      const [map, entry] = state.get().term ?? [-1, NO_ENTRY];
      if (terms[map]) return [map, entry < terms[map].kernel.length ? entry : NO_ENTRY];
      const most = terms.reduce((best, { sum }, k) => (Math.abs(sum) > Math.abs(terms[best].sum) ? k : best), 0);
      return [most, NO_ENTRY];
    }

    /** Each plane with its maps, scale and marks; absent where the network has no such layer. */
    function stagesOf(at, inChannel, entry) {
      const { norm, activation, pool } = following();
      const geometry = convolution.geometryOf(layer());
      const { height, width, padding } = geometry;
      const patch = { y: at.y - padding, x: at.x - padding, height, width };
      const read = entry === NO_ENTRY ? [] : [convolution.window(geometry, at.y, at.x)[entry]];
      const walked = () => ({ marks: [{ ...at }], upTo: walk.upTo() });
      /** @type {any} */
      const stages = {
        input: {
          maps: input(),
          map: inChannel,
          scale: journey.scaleOf(view.model, view.result, view.index - 1),
          padding,
          marks: [patch, ...read],
          name: view.index === 0 ? "image" : view.model.layers[view.index - 1].name,
        },
        sum: stage(view.index, walked(), true),
      };
      if (norm !== undefined) stages.norm = stage(norm, walked(), true);
      if (activation !== undefined) stages.activation = stage(activation, walked());
      if (pool !== undefined) addPool(stages, pool, at);
      return stages;
    }

    function stage(index, marked, signed) {
      const [maps, made] = [view.result.outputs[index], view.model.layers[index]];
      const scale = colours.scaleOf(maps.values, signed);
      return { maps, map: view.channel, scale, layer: made, name: made.name, ...marked };
    }

    function addPool(stages, pool, at) {
      const size = view.model.layers[pool].kernel_size;
      const before = stages.activation ?? stages.norm ?? stages.sum;
      const { maps } = before;
      const pooled = convolution.poolingWindow(maps, size, view.channel, at.y, at.x);
      const done = Math.min(walk.upTo(), maps.height * maps.width);
      const [row, column] = [Math.floor(done / maps.width), done % maps.width];
      const { width } = view.result.outputs[pool];
      const partial = row % size === size - 1 ? Math.floor(column / size) : 0;
      stages.pool = stage(pool, {
        marks: pooled ? [{ y: pooled.row, x: pooled.column }] : [],
        upTo: Math.floor(row / size) * width + partial,
        window: pooled?.values,
        windowScale: before.scale,
      });
      if (pooled) before.marks.push({ ...pooled.places[0], height: size, width: size });
    }

    function paintStage(name, shown) {
      part[`${name}Figure`].hidden = !shown;
      if (!shown) return;
      const { maps, map, scale } = shown;
      const { low, high } = name === "input" && inkShown() ? { low: 0, high: 1 } : scale;
      plane.paint(part[`${name}Plane`], maps, map, scale, shown);
      part[`${name}Layer`].textContent = shown.name;
      part[`${name}Facts`].textContent =
        `${shown.name === "image" ? "" : `map ${map}, `}${maps.height}×${maps.width}; ${low < 0 && name !== "input" ? "±" : `${colours.short(low)} to `}${colours.short(high)}`;
      if (name === "sum") part.sumTitle.textContent = layer().bias ? "Sum and bias" : "Sum";
    }

    function paintProducts({ patch, kernel, products }, shown, inputScale, strong) {
      const { values, shape } = layer().weight;
      const width = shape[3];
      arithmetic.fill(part.patch, patch, width, inputScale, { strong });
      arithmetic.fill(part.kernel, kernel, width, colours.scaleOf(inkShown() ? kernel : values, true), { strong });
      arithmetic.fill(part.products, products, width, colours.scaleOf(products, true), { strong, shown: shown.products });
    }

    /** One multiplication: where its two numbers come from. */
    function paintTerm({ patch, kernel, products }, chosen, entry, at) {
      part.term.hidden = entry === NO_ENTRY;
      if (entry === NO_ENTRY) return;
      const geometry = convolution.geometryOf(layer());
      const { y, x } = convolution.window(geometry, at.y, at.x)[entry];
      const { height, width } = input();
      const outside = y < 0 || x < 0 || y >= height || x >= width;
      const [i, j] = [Math.floor(entry / geometry.width), entry % geometry.width];
      const from = view.index === 0 ? "image" : `${view.model.layers[view.index - 1].name}, map ${chosen}`;
      part.termInput.textContent = patch[entry].toFixed(4).replace("-", "−");
      part.termWeight.textContent = kernel[entry].toFixed(4).replace("-", "−");
      part.termProduct.textContent = products[entry].toFixed(4).replace("-", "−");
      part.termFrom.textContent = outside ? "padding" : `${from}, row ${y}, column ${x}`;
      part.termOf.textContent = `${layer().name}, kernel ${chosen} → ${view.channel}, row ${i}, column ${j}`;
    }

    /** The sentence of arithmetic under the grids, from the products to the pooled value. */
    function paintSteps(terms, chosen, shown, { sum, norm, activation, pool }, at) {
      const { fixed } = arithmetic;
      const value = ({ maps }) => fixed(convolution.pixel(maps, view.channel, at));
      const { bias } = layer();
      const several = terms.length > 1;
      paintStep("chosen", {
        Name: several ? `Products of input map ${chosen}` : "Products",
        Value: fixed(shown.sums[chosen]),
      });
      paintStep("channels", several && { Name: `Sum over all ${terms.length} input maps`, Value: fixed(shown.total) });
      if (several) paintChannels(terms, chosen, shown.sums);
      paintStep("bias", {
        Name: bias ? `Plus the bias${inkShown() ? ", which takes over the mean" : ""}` : "No bias: batch normalisation shifts instead",
        Work: bias ? `${fixed(shown.total)} + ${fixed(shown.bias)}` : "",
        Value: value(sum),
      });
      paintStep("norm", norm && { Work: normWork(norm, value(sum)), Value: value(norm) });
      paintStep(
        "activation",
        activation && {
          ...ACTIVATIONS[activation.layer.kind](value(norm ?? sum)),
          ...(isSilenced(activation) && { Work: "silenced" }),
          Value: value(activation),
        },
      );
      paintStep("pool", pool && paintPool(pool));
    }

    const isSilenced = ({ name }) => view.result.silenced.includes(`${view.model.name}.${name}.${view.channel}`);

    /** A line of the sentence with its texts by their place in it; without texts it is hidden. */
    function paintStep(name, texts) {
      part[`${name}Step`].hidden = !texts;
      for (const [key, text] of Object.entries(texts || {})) part[name + key].textContent = text;
    }

    function normWork(norm, x) {
      const { scale, shift } = network.batchNormLine(norm.layer, view.channel);
      return `${x} · ${arithmetic.fixed(scale)} + ${arithmetic.fixed(shift)}`;
    }

    /** The pooling window's numbers; returns the texts of the line. */
    function paintPool({ layer: { kind, kernel_size: size }, window: values, windowScale }) {
      part.poolWindow.hidden = !values;
      if (!values) return { Name: "Outside of every pooling window: the map's size is odd", Value: "–" };
      const isMax = kind === "max_pool2d";
      const top = Math.max(...values);
      arithmetic.fill(part.poolWindow, values, size, windowScale, { strong: isMax ? values.indexOf(top) : -1 });
      return {
        Name: `${isMax ? "Largest" : "Mean"} of its ${size}×${size} window`,
        Value: arithmetic.fixed(isMax ? top : values.reduce((a, b) => a + b, 0) / values.length),
      };
    }

    /** What every input map adds, as a strip of colours and, when asked for, as a table. */
    function paintChannels(terms, chosen, shown) {
      paintStrip(part.channels, terms.map(({ sum }) => sum), chosen);
      if (!part.allSums.open) return;
      part.sumsTable.tBodies[0].replaceChildren(
        ...shown.map((sum, k) => markup.row(String(k), arithmetic.fixed(sum))),
      );
    }

    // How it is pointed at

    const walk = sweep.attach(part.walk, {
      size: output,
      place,
      move: ({ y, x }) => state.set({ pixel: [y, x] }),
    });

    /** Pointing shows a pixel, a press or a key pins it; a press on the pinned one lets it go. */
    function move(pixel, how) {
      if (how === "point") {
        pointed = pixel;
        return paint();
      }
      walk.stop();
      const [row, column] = state.get().pixel ?? [-1, -1];
      const isPinned = how === "press" && row === pixel.y && column === pixel.x;
      if (isPinned) pointed = pixel;
      state.set({ pixel: isPinned ? null : [pixel.y, pixel.x] }, { push: how === "press" && row === -1 });
      if (how === "key") announce();
      return paint();
    }

    const announce = markup.rested(() => {
      const at = place();
      const value = convolution.pixel(output(), view.channel, at);
      part.status.textContent = `${where(at)}: ${arithmetic.fixed(value)}.`;
    });

    const leave = () => {
      pointed = null;
      paint();
    };
    const onOutput = { size: output, place, move, leave };
    for (const name of ["sum", "norm", "activation"]) plane.choose(part[`${name}Plane`], onOutput);
    // On the input the pointer is the middle of the window, on the pooled map a corner of its window.
    plane.choose(part.inputPlane, {
      size: () => ({ ...output(), height: input().height, width: input().width, padding: layer().padding }),
      place: () => shifted(place(), 1),
      move: (pixel, how) => move(plane.within(shifted(pixel, -1), output()), how),
      leave,
    });
    plane.choose(part.poolPlane, {
      size: () => view.result.outputs[following().pool],
      place: () => ({ y: Math.floor(place().y / poolSize()), x: Math.floor(place().x / poolSize()) }),
      move: ({ y, x }, how) => move(plane.within({ y: y * poolSize(), x: x * poolSize() }, output()), how),
      leave,
    });

    const poolSize = () => view.model.layers[following().pool].kernel_size;

    function shifted({ y, x }, sign) {
      const { height, width, padding } = convolution.geometryOf(layer());
      const middle = (size) => sign * (Math.floor(size / 2) - padding);
      return { y: y + middle(height), x: x + middle(width) };
    }

    /** Look at one multiplication of the chosen pixel; it is pinned with it. */
    function look(entry) {
      const { y, x } = place();
      const [chosen, before] = chosenTerm(convolution.terms(layer(), input(), view.channel, y, x));
      state.set({ pixel: [y, x], term: [chosen, entry === before ? NO_ENTRY : entry] }, { push: before === NO_ENTRY });
    }

    for (const name of ["patch", "kernel", "products"]) {
      part[name].addEventListener("click", ({ target }) => {
        const cell = target.closest("td");
        if (cell) look(cell.parentElement.rowIndex * cell.parentElement.cells.length + cell.cellIndex);
      });
    }
    part.products.addEventListener("keydown", (event) => {
      const [, , height, width] = layer().weight.shape;
      const at = place();
      const [, entry] = chosenTerm(convolution.terms(layer(), input(), view.channel, at.y, at.x));
      const cell = plane.step(event, { y: Math.floor(Math.max(0, entry) / width), x: Math.max(0, entry) % width }, { height, width });
      if (cell) look(cell.y * width + cell.x);
    });

    part.channels.addEventListener("pointerdown", (event) => {
      const box = part.channels.getBoundingClientRect();
      const count = layer().weight.shape[1];
      const map = Math.floor(((event.clientX - box.left) / box.width) * count);
      state.set({ term: [Math.min(count - 1, Math.max(0, map)), NO_ENTRY] });
    });
    part.allSums.addEventListener("toggle", paint);
    part.inkShown.addEventListener("change", () => state.set({ ink: part.inkShown.checked }));

    /** Go one step deeper than now, by the keyboard: to the pixel, then to its largest product. */
    function enter() {
      const { y, x } = place();
      if (!state.get().pixel) return state.set({ pixel: [y, x] }, { push: true });
      const terms = convolution.terms(layer(), input(), view.channel, y, x);
      const { products } = terms[chosenTerm(terms)[0]];
      part.products.focus();
      return look(products.reduce((best, each, k) => (Math.abs(each) > Math.abs(products[best]) ? k : best), 0));
    }

    for (const name of STAGES) {
      part[`${name}Plane`].addEventListener("keydown", ({ key }) => {
        if (key === "Enter") enter();
      });
    }

    return {
      show(next) {
        const isOther = view?.model !== next?.model || view?.index !== next?.index;
        view = next;
        if (isOther) walk.stop();
        paint();
      },
      focus: () => part.sumPlane.focus({ preventScroll: true }),
    };
  }

  /** All numbers of a sum to two decimals, so that those that are read add up to what is read. */
  function shownNumbers(terms, chosen, exactBias, value) {
    const bias = arithmetic.rounded(exactBias);
    const total = arithmetic.rounded(arithmetic.rounded(value) - bias);
    const sums = arithmetic.adding(terms.map(({ sum }) => sum), total);
    return { bias, total, sums, products: arithmetic.adding(terms[chosen].products, sums[chosen]) };
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

  return { attach, shownNumbers };
})();
