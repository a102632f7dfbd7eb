/**
 * A picture of the reader's own, as the 28×28 pixels of an image.
 *
 * As `cnnpipe.predict` does, it looks for the ink: paper and light are estimated as a quadratic function
 * of the place, the colour that differs most from them is the ink's, and how far a pixel lies in that
 * direction is how much ink it has. Then MNIST's preprocessing. The picture is taken to show one digit.
 */
const picture = (() => {
  const [FAINTEST, WHITE, BLACK] = [0.04, 0.3, 0.7]; // least difference of ink; of full ink: still paper, full
  const STRONGEST = 0.0005; // share of the pixels from which the ink's colour is taken
  const ROUNDS = 3; // of fitting the paper, each without the pixels that the last one found to be ink

  /** The 28×28 pixels of an image file; an image of that size is taken as it is, white on black. */
  async function read(file, boxed) {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error("this is no picture that the browser can read");
    });
    const { SIDE } = digit;
    if (bitmap.width === SIDE && bitmap.height === SIDE) return whole(pixelsOf(bitmap, SIDE, SIDE));
    if (!boxed) return whole(pixelsOf(bitmap, SIDE, SIDE));
    const scale = ink.SIDE / Math.max(bitmap.width, bitmap.height);
    const [width, height] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
    const found = findInk(pixelsOf(bitmap, width, height), width, height);
    const sheet = ink.sheet();
    found.forEach((value, k) => (sheet[Math.floor(k / width) * ink.SIDE + (k % width)] = value));
    const prepared = digit.prepare(sheet, ink.SIDE, true);
    if (!prepared) throw new Error("there is no ink in it");
    return prepared.pixels;
  }

  /** The picture in a given size, on white; red, green, blue and opacity of each pixel. */
  function pixelsOf(bitmap, width, height) {
    const context = markup.make("canvas", { width, height }).getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  }

  /** Grey values, white on black: a picture whose edge is light is inverted. */
  function whole(data) {
    const { SIDE } = digit;
    const grey = Uint8Array.from({ length: SIDE * SIDE }, (_, k) =>
      Math.round(0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2]),
    );
    const edge = grey.filter((__, k) => k < SIDE || k >= SIDE * (SIDE - 1) || k % SIDE === 0 || k % SIDE === SIDE - 1);
    const isLight = edge.reduce((a, b) => a + b, 0) / edge.length > 127;
    return isLight ? grey.map((value) => 255 - value) : grey;
  }

  /** How much ink there is in each pixel, 0 to 1. */
  function findInk(data, width, height) {
    const count = width * height;
    const channel = (c) => Float64Array.from({ length: count }, (_, k) => data[4 * k + c] / 255);
    const difference = [0, 1, 2].map(channel).map((values) => {
      const paper = fitPaper(values, width, height);
      return values.map((value, k) => value - paper[k]);
    });
    const length = Float64Array.from({ length: count }, (_, k) => Math.hypot(...difference.map((each) => each[k])));
    const strongest = [...length.keys()].toSorted((a, b) => length[b] - length[a]).slice(0, Math.max(12, Math.round(STRONGEST * count)));
    const colour = difference.map((each) => median(strongest.map((k) => each[k])));
    const square = colour.reduce((sum, part) => sum + part * part, 0);
    if (Math.sqrt(square) < FAINTEST) throw new Error("nothing in it differs from the paper");
    return length.map((_, k) => {
      const projected = difference.reduce((sum, each, c) => sum + each[k] * colour[c], 0) / square;
      return Math.min(1, Math.max(0, (projected - WHITE) / (BLACK - WHITE)));
    });
  }

  const median = (values) => [...values].toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

  /** The quadratic function of the place that fits the paper, by least squares. */
  function fitPaper(values, width, height) {
    const terms = (k) => {
      const [x, y] = [(2 * (k % width)) / width - 1, (2 * Math.floor(k / width)) / height - 1];
      return [1, x, y, x * x, x * y, y * y];
    };
    let paper = values.slice().fill(median(values));
    for (let round = 0; round < ROUNDS; round++) {
      const far = values.map((value, k) => Math.abs(value - paper[k]));
      const limit = Math.max(0.02, 3 * median(far));
      const [matrix, right] = [Array.from({ length: 6 }, () => Array(6).fill(0)), Array(6).fill(0)];
      for (let k = 0; k < values.length; k++) {
        if (far[k] > limit) continue;
        const t = terms(k);
        for (let i = 0; i < 6; i++) {
          right[i] += t[i] * values[k];
          for (let j = 0; j < 6; j++) matrix[i][j] += t[i] * t[j];
        }
      }
      const factors = solve(matrix, right);
      paper = values.map((_, k) => terms(k).reduce((sum, term, i) => sum + term * factors[i], 0));
    }
    return paper;
  }

  /** Gauss elimination of a symmetric positive system; what is not determined is 0. */
  function solve(matrix, right) {
    const rows = matrix.map((row, i) => [...row, right[i]]);
    for (let i = 0; i < rows.length; i++) {
      if (Math.abs(rows[i][i]) < 1e-9) rows[i].fill(0);
      else {
        const [pivot, size] = [rows[i][i], rows.length];
        rows[i] = rows[i].map((value) => value / pivot);
        for (let k = 0; k < size; k++) {
          const factor = k === i ? 0 : rows[k][i];
          rows[k] = rows[k].map((value, c) => value - factor * rows[i][c]);
        }
      }
    }
    return rows.map((row) => row.at(-1));
  }

  /** Pixels as base64url, for the address, and back; null if the text is no image. */
  function encode(pixels) {
    return btoa(String.fromCharCode(...pixels)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  function decode(text) {
    if (!/^[\w-]+$/.test(text) || text.length % 4 === 1) return null;
    const pixels = network.bytes(text.replaceAll("-", "+").replaceAll("_", "/"));
    return pixels.length === digit.SIDE ** 2 ? pixels : null;
  }

  return { decode, encode, read };
})();
