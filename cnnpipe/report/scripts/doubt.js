/**
 * Whether an image is like those that a network was trained on, by the rule of cnnpipe/explain/familiarity.py:
 *
 *   d = 1 − max_i cos(f, f_i)
 *
 * f is what the last layer gets, f_i are those of training images. An image is doubted if d is larger than
 * `usual`, which 99 % of images do not exceed that were held out of training.
 */
const doubt = (() => {
  /** What the last layer got, scaled to length 1. */
  function direction({ outputs }) {
    const { values } = outputs.at(-2);
    const length = Math.hypot(...values) || 1e-12;
    return Float64Array.from(values, (value) => value / length);
  }

  /** The neighbours of a network, each of length 1; null where none are embedded. */
  function unpack(embedding) {
    if (!embedding) return null;
    const whole = new Int8Array(network.bytes(embedding.neighbours).buffer);
    const size = network.bytes(embedding.axes).length / 8 - 1; // two float32 for each feature, and for the constant
    const rows = Array.from({ length: whole.length / size }, (_, k) => whole.subarray(k * size, (k + 1) * size));
    return { rows, lengths: rows.map((row) => Math.hypot(...row)), usual: embedding.usual };
  }

  /** The distance d of a network's result. */
  function distance(result, { rows, lengths }) {
    const f = direction(result);
    const cosines = rows.map((row, k) => row.reduce((sum, value, j) => sum + value * f[j], 0) / lengths[k]);
    return 1 - Math.max(...cosines);
  }

  /** Say it beside each answer, as often as the networks answer. */
  function attach(root, models, drawn) {
    const elements = root.querySelectorAll('[data-part="doubt"]');
    const known = models.map(({ embedding }) => unpack(embedding));
    drawn.watch(root, ({ results }) => {
      results.forEach((result, k) => {
        if (!elements[k] || !known[k]) return;
        const doubted = result !== null && distance(result, known[k]) > known[k].usual;
        elements[k].textContent = doubted ? "Doubtful: unlike every training image" : "";
      });
    });
  }

  return { attach, direction, distance, unpack };
})();
