/** Stride, padding and dilation on a small image, with the output-size formula filled in. */
const sandbox = (() => {
  const SIDE = 14;
  /** Of a kernel: what the digits of the page still show, far from overflow in 32 bits. */
  const LARGEST_ENTRY = 1000;

  const image = (value) => {
    const maps = network.stack(1, SIDE, SIDE);
    maps.values.forEach((_, k) => (maps.values[k] = value(Math.floor(k / SIDE), k % SIDE)));
    return maps;
  };

  /** A digit of 28×28 at half the size: each pixel the mean of four, from 0 to 1. */
  function halved(pixels) {
    const ink = (y, x) => pixels[y * 2 * SIDE + x] / 255;
    return image((y, x) => {
      const [top, left] = [2 * y, 2 * x];
      return (ink(top, left) + ink(top, left + 1) + ink(top + 1, left) + ink(top + 1, left + 1)) / 4;
    });
  }

  const PATTERNS = {
    edge: { title: "an upright edge", maps: () => image((_, x) => Number(x >= SIDE / 2)) },
    point: { title: "one bright pixel", maps: () => image((y, x) => Number(y === 6 && x === 6)) },
    board: { title: "a chessboard", maps: () => image((y, x) => (y + x) % 2) },
  };

  const KERNELS = {
    sobelX: { title: "Sobel, left to right", values: [-1, 0, 1, -2, 0, 2, -1, 0, 1] },
    sobelY: { title: "Sobel, top to bottom", values: [-1, -2, -1, 0, 0, 0, 1, 2, 1] },
    laplace: { title: "Laplace", values: [0, 1, 0, 1, -4, 1, 0, 1, 0] },
    blur: { title: "mean of 3×3", values: Array(9).fill(1 / 9) },
    identity: { title: "identity", values: [0, 0, 0, 0, 1, 0, 0, 0, 0] },
    wide: { title: "Gauss, 5×5", values: gauss() },
  };
  const OWN = "own";

  /** Binomial weights, [1 4 6 4 1] / 16 in both directions. */
  function gauss() {
    const row = [1, 4, 6, 4, 1];
    return row.flatMap((a) => row.map((b) => (a * b) / 256));
  }

  /** Bring the sandbox to life; its digit is the first of the page's. */
  function attach(root, digits) {
    const part = markup.parts(root);
    let kernel = KERNELS.sobelX.values;
    /** @type {any} Maps; output is null where the kernel does not fit */
    let [input, output] = [null, null];
    let place = { y: 0, x: 0 };
    let pinned = false; // by a press or a key; else the pixel under the mouse, or the strongest

    const size = () => Math.sqrt(kernel.length);
    const geometry = () => ({
      height: size(),
      width: size(),
      stride: Number(part.stride.value),
      padding: Number(part.padding.value),
      dilation: Number(part.dilation.value),
    });
    const layer = () => ({
      weight: { shape: [1, 1, size(), size()], values: Float32Array.from(kernel) },
      ...geometry(),
    });

    function recompute() {
      const pattern = PATTERNS[part.pattern.value];
      input = pattern ? pattern.maps() : halved(digits.images[0].pixels);
      const outputs = network.outputSize(SIDE, { kernelSize: size(), ...geometry() });
      output = outputs > 0 ? network.conv2d(input, layer()) : null;
      if (output) place = pinned ? plane.within(place, output) : plane.strongest(output, 0);
      walk.stop();
      for (const name of ["stride", "padding", "dilation"]) part[`${name}Value`].value = part[name].value;
      paintFormula(outputs);
      paint();
    }

    const paint = markup.everyFrame(() => {
      part.outputFigure.hidden = part.work.hidden = part.walk.hidden = !output;
      const { padding } = geometry();
      const marks = output ? convolution.window(geometry(), place.y, place.x) : [];
      plane.paint(part.inputPlane, input, 0, colours.inkScale(0, 1), { padding, marks });
      if (output) paintOutput();
    });

    function paintFormula(outputs) {
      const { stride, padding, dilation } = geometry();
      const extent = dilation * (size() - 1) + 1;
      part.formula.textContent =
        `output = ⌊(${SIDE} + 2·${padding} − ${dilation}·(${size()} − 1) − 1) / ${stride}⌋ + 1 = ` +
        (output ? String(outputs) : "no output");
      part.verdict.textContent = output
        ? `The kernel spans ${extent} pixels and fits ${outputs} times along each axis: ${outputs}×${outputs} outputs.`
        : `The kernel spans ${extent} pixels, and with padding there are only ${SIDE + 2 * padding}: it does not fit.`;
    }

    function paintOutput() {
      const signed = colours.scaleOf(output.values, true);
      plane.paint(part.outputPlane, output, 0, signed, { marks: [{ ...place }], upTo: walk.upTo() });
      const [{ patch, products, sum }] = convolution.terms(layer(), input, 0, place.y, place.x);
      arithmetic.fill(part.patch, patch, size(), colours.inkScale(0, 1));
      arithmetic.fill(part.products, products, size(), colours.scaleOf(products, true));
      part.sum.textContent = arithmetic.fixed(sum);
      part.where.textContent = `Output pixel in row ${place.y}, column ${place.x}`;
    }

    /** The kernel as cells that can be written in. */
    function offerKernel() {
      const rows = Array.from({ length: size() }, (_, i) =>
        markup.make("tr", {}, ...Array.from({ length: size() }, (__, j) => cell(i, j))),
      );
      part.kernel.tBodies[0].replaceChildren(...rows);
    }

    function cell(i, j) {
      const field = markup.make("input", {
        type: "number",
        step: "any",
        min: -LARGEST_ENTRY,
        max: LARGEST_ENTRY,
        required: true,
        value: String(Number(kernel[i * size() + j].toFixed(4))),
        ariaLabel: `Kernel, row ${i}, column ${j}`,
      });
      field.addEventListener("input", () => {
        // The last good entry stays; the style sheet marks the field.
        part.problem.textContent = field.validity.valid
          ? ""
          : `Row ${i}, column ${j} needs a number from −${LARGEST_ENTRY} to ${LARGEST_ENTRY}; the sum is still with ${kernel[i * size() + j]}.`;
        if (!field.validity.valid) return;
        kernel = kernel.with(i * size() + j, Number(field.value));
        part.preset.value = OWN;
        recompute();
      });
      return markup.make("td", {}, field);
    }

    part.preset.addEventListener("change", () => {
      kernel = KERNELS[part.preset.value]?.values ?? kernel;
      part.problem.textContent = "";
      offerKernel();
      recompute();
    });
    for (const name of ["pattern", "stride", "padding", "dilation"]) {
      part[name].addEventListener("input", recompute);
    }

    function go(pixel) {
      place = pixel;
      paint();
    }

    const walk = sweep.attach(part.walk, { size: () => output, place: () => place, move: go });

    /** Pointing shows a pixel; a press or a key pins it, and a press on the pinned one lets it go. */
    function move(pixel, how) {
      if (how === "point" && pinned) return;
      if (how !== "point") {
        walk.stop();
        pinned = !(how === "press" && pinned && pixel.y === place.y && pixel.x === place.x);
      }
      go(pixel);
      if (how === "key") {
        const value = arithmetic.fixed(convolution.pixel(output, 0, place));
        part.status.textContent = `Row ${place.y}, column ${place.x}: ${value}.`;
      }
    }

    plane.choose(part.outputPlane, { size: () => output, place: () => place, move });

    const options = (choices) => Object.entries(choices).map(([name, { title }]) => new Option(title, name));
    const [{ index, label }] = digits.images;
    const named = `test image ${index} (${digits.classes[label]}), halved`;
    part.pattern.append(new Option(named, "digit"), ...options(PATTERNS));
    part.preset.append(...options(KERNELS), new Option("your own", OWN));
    offerKernel();
    recompute();
  }

  return { attach };
})();
