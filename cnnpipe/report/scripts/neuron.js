/** The end of the chain: one neuron of a fully connected layer, and softmax. */
const neuron = (() => {
  const LISTED = 6; // products that have a row of their own, the largest

  /** Bring the view to life. Returns `show(view)`, a view being {model, result, index, channel}. */
  function attach(root) {
    const part = markup.parts(root);
    let view = null;

    const layer = () => view.model.layers[view.index];
    const inputs = () => journey.mapsOf(view.result, view.index - 1);

    /** Its inputs, weights and products, one for each input, in their order. */
    function terms() {
      const { weight } = layer();
      const count = weight.shape[1];
      const weights = weight.values.subarray(view.channel * count, (view.channel + 1) * count);
      const values = inputs().values;
      return { values, weights, products: values.map((value, k) => value * weights[k]) };
    }

    const paint = markup.everyFrame(() => {
      if (!view) return;
      const { values, weights, products } = terms();
      const chosen = state.get().term?.[1] ?? -1;
      const width = widthOf(products.length);
      const grids = [
        ["values", values, colours.scaleOf(values)],
        ["weights", weights, colours.scaleOf(layer().weight.values, true)],
        ["products", products, colours.scaleOf(products, true)],
      ];
      const marks = chosen in products ? [{ y: Math.floor(chosen / width), x: chosen % width }] : [];
      for (const [name, numbers, scale] of grids) {
        const maps = { channels: 1, height: numbers.length / width, width, values: numbers };
        plane.paint(part[`${name}Plane`], maps, 0, scale, { marks });
        part[`${name}Facts`].textContent = `${numbers.length} numbers, ${colours.short(scale.low)} to ${colours.short(scale.high)}`;
      }
      paintTerm(chosen, values, weights, products);
      paintSum(products);
    });

    /** The largest products, what all others add, the bias: numbers that add up. */
    function paintSum(products) {
      const { fixed, rounded } = arithmetic;
      const total = view.result.outputs[view.index].values[view.channel];
      const bias = rounded(layer().bias.values[view.channel]);
      const order = [...products.keys()].toSorted((a, b) => Math.abs(products[b]) - Math.abs(products[a]));
      const [listed, others] = [order.slice(0, LISTED), order.slice(LISTED)];
      const rest = others.reduce((sum, k) => sum + products[k], 0);
      const shown = arithmetic.adding([...listed.map((k) => products[k]), rest], rounded(rounded(total) - bias));
      const rows = [
        ...listed.map((k, n) => [nameOf(k), shown[n]]),
        [`The other ${others.length}`, shown.at(-1)],
        ["Bias", bias],
        [`${layer().name}, neuron ${view.channel}`, total],
      ];
      const activation = convolution.followers(view.model.layers, view.index).activation;
      if (activation !== undefined) {
        rows.push([view.model.layers[activation].name, view.result.outputs[activation].values[view.channel]]);
      }
      part.sum.tBodies[0].replaceChildren(...rows.map(([name, value]) => markup.row(name, fixed(value))));
    }

    function paintTerm(k, values, weights, products) {
      part.neuronTerm.hidden = !(k in products);
      if (!(k in products)) return;
      const four = (value) => value.toFixed(4).replace("-", "−");
      part.neuronTerm.textContent =
        `${nameOf(k)}: ${four(values[k])} × ${four(weights[k])} ≈ ${four(products[k])}`;
    }

    /** An input by the map and the pixel that it is. */
    function nameOf(k) {
      const { height, width } = inputs();
      const before = view.model.layers[view.index - 1].name;
      const map = Math.floor(k / (height * width));
      if (height * width === 1) return `${before} ${map}`;
      const pixel = k % (height * width);
      return `${before} ${map}, row ${Math.floor(pixel / width)}, column ${pixel % width}`;
    }

    const size = () => {
      const { length } = inputs().values;
      return { height: length / widthOf(length), width: widthOf(length) };
    };
    const place = () => {
      const k = Math.max(0, state.get().term?.[1] ?? 0);
      return { y: Math.floor(k / size().width), x: k % size().width };
    };
    for (const name of ["values", "weights", "products"]) {
      plane.choose(part[`${name}Plane`], {
        size,
        place,
        move: (pixel, how) => {
          if (how === "point") return;
          state.set({ term: [0, pixel.y * size().width + pixel.x] }, { push: state.get().term === null });
        },
      });
      part[`${name}Plane`].addEventListener("keydown", ({ key }) => {
        const { products } = terms();
        const largest = products.reduce((best, each, k) => (Math.abs(each) > Math.abs(products[best]) ? k : best), 0);
        if (key === "Enter") state.set({ term: [0, largest] }, { push: state.get().term === null });
      });
    }

    return {
      show(next) {
        view = next;
        paint();
      },
      focus: () => part.productsPlane.focus({ preventScroll: true }),
    };
  }

  /** The width of a grid of `count` cells: as square as can be without a rest. */
  function widthOf(count) {
    let width = Math.ceil(Math.sqrt(count));
    while (count % width) width++;
    return width;
  }

  /** Softmax as a table: a row for each class, from its logit to its probability. */
  function showSoftmax(table, { logits, probabilities, prediction }, classes) {
    const top = logits[prediction];
    const powers = Array.from(logits, (z) => Math.exp(z - top));
    const total = powers.reduce((a, b) => a + b, 0);
    const { fixed } = arithmetic;
    const rows = powers.map((power, k) => {
      const made = markup.row(classes[k], fixed(logits[k]), fixed(logits[k] - top), colours.short(power), colours.percent(probabilities[k]));
      made.classList.toggle("first", k === prediction);
      return made;
    });
    table.tBodies[0].replaceChildren(...rows);
    table.tFoot.replaceChildren(markup.row("Sum", "", "", colours.short(total), "100 %"));
  }

  return { attach, showSoftmax };
})();
