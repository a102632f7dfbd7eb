/** Watch it learn: the first convolution's kernels, and its maps of the image on the sheet, from step to step. */
const snapshots = (() => {
  const MOST = 8; // kernels side by side
  const GAP = 6; // between them, pixels
  const PACE = 150; // milliseconds for a snapshot, when they play

  /** Snapshots as the page's JSON has them, each as a layer that `network.conv2d` takes. */
  function unpack(model) {
    const { steps, accuracy, shape, kernels, bias } = model.snapshots;
    const layer = model.layers[0];
    const numbers = (text) => network.numbers(text, "float16");
    const [weights, biases] = [numbers(kernels), bias && numbers(bias)];
    const size = shape.reduce((a, b) => a * b, 1);
    return steps.map((step, k) => ({
      step,
      accuracy: accuracy[k],
      layer: {
        ...layer,
        weight: { shape, values: weights.subarray(k * size, (k + 1) * size) },
        bias: biases && { shape: [shape[0]], values: biases.subarray(k * shape[0], (k + 1) * shape[0]) },
      },
    }));
  }

  /** Each kernel, and its map below it; kernels on one scale, maps on another. */
  function paintPairs(canvas, kernels, maps, room) {
    const { channels } = kernels;
    const most = Math.min(MOST, channels);
    const side = digit.SIDE * (most * (2 * digit.SIDE + GAP) <= room ? 2 : 1);
    const columns = Math.min(most, Math.max(1, Math.floor(room / (side + GAP))));
    const rows = Math.ceil(channels / columns);
    const pitch = (maps ? 2 : 1) * (side + GAP) + GAP;
    const dense = 2; // dots of the canvas for a pixel of the page
    markup.resize(canvas, dense * columns * (side + GAP), dense * rows * pitch);
    canvas.style.width = `${columns * (side + GAP)}px`;
    const context = canvas.getContext("2d");
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    const store = document.createElement("canvas");
    for (const [line, stack] of [kernels, maps].entries()) {
      if (!stack) continue;
      const { height, width, values } = stack;
      colours.paint(store, values, width, colours.scaleOf(values, true));
      for (let c = 0; c < channels; c++) {
        const [left, top] = [(c % columns) * (side + GAP), Math.floor(c / columns) * pitch + line * (side + GAP / 2)];
        context.drawImage(store, 0, c * height, width, height, left, top, side, side);
      }
    }
  }

  function attach(root, { models, drawn }) {
    for (const [k, model] of models.entries()) {
      const host = root.querySelector(`[data-network="${k}"]`);
      if (host) attachOne(host, model, unpack(model), drawn);
    }
  }

  function attachOne(root, model, moments, drawn) {
    const part = markup.parts(root);
    const last = moments.length - 1;
    // Over the snapshots and not the steps, of which the first would share one place.
    const mark = curve.draw(
      part.curve,
      moments.map((_, k) => k),
      [moments.map(({ accuracy }) => accuracy)],
      `Accuracy of ${model.title} from ${colours.percent(moments[0].accuracy)} to ${colours.percent(moments[last].accuracy)}`,
    );
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    let playing = 0; // the timer
    part.slider.max = last;
    part.slider.value = last;

    const update = markup.everyFrame(() => {
      const { step, accuracy, layer } = moments[Number(part.slider.value)];
      const [channels, , height, width] = layer.weight.shape;
      const kernels = { channels, height, width, values: layer.weight.values };
      const text = `Step ${step.toLocaleString("en")} of ${moments[last].step.toLocaleString("en")}: ${colours.percent(accuracy)}`;
      part.told.textContent = text;
      part.slider.setAttribute("aria-valuetext", text);
      mark(Number(part.slider.value));
      const pixels = drawn.pixels();
      const maps = pixels && network.conv2d(network.normalise(pixels, digit.SIDE, model.normalization), layer);
      paintPairs(part.pairs, kernels, maps, root.clientWidth);
      const below = maps ? ", and below each its map of the image on the sheet" : "";
      part.pairs.setAttribute("aria-label", `The ${channels} kernels of ${layer.name} after step ${step}${below}`);
    });

    function go(to) {
      part.slider.value = to;
      update();
    }

    function stop() {
      clearInterval(playing);
      playing = 0;
      part.play.textContent = still ? "Next step" : "Play";
    }

    /** Play from here, or from the start again. Without motion, a press is one step. */
    function play() {
      const next = () => (Number(part.slider.value) + 1) % moments.length;
      if (still) return go(next());
      if (playing) return stop();
      part.play.textContent = "Pause";
      if (Number(part.slider.value) === last) go(0);
      playing = setInterval(() => {
        go(next());
        if (Number(part.slider.value) === last) stop();
      }, PACE);
      return undefined;
    }

    stop();
    part.play.addEventListener("click", play);
    part.slider.addEventListener("input", () => {
      stop();
      update();
    });
    drawn.watch(root, update);
  }

  return { attach };
})();
