/**
 * From ink to the 28×28 pixels that a network was trained on.
 *
 * MNIST's own preprocessing: crop to the ink, scale to a 20×20 box keeping the shape, put the centre of
 * mass into the middle of 28×28. Source: LeCun, Bottou, Bengio, Haffner, 1998, section III.A.
 */
const digit = (() => {
  const SIDE = 28;
  const BOX = 20;
  const FAINT = 0.1; // of full ink; less is a stroke's soft edge

  /** The ink's bounds {left, top, right, bottom}, ends excluded, and its centre of mass; null of paper. */
  function measure(ink, side) {
    const bounds = { left: side, top: side, right: 0, bottom: 0 };
    let [mass, momentX, momentY] = [0, 0, 0];
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const value = ink[y * side + x];
        if (value < FAINT) continue;
        bounds.left = Math.min(bounds.left, x);
        bounds.right = Math.max(bounds.right, x + 1);
        bounds.top = Math.min(bounds.top, y);
        bounds.bottom = Math.max(bounds.bottom, y + 1);
        mass += value;
        momentX += value * (x + 0.5);
        momentY += value * (y + 0.5);
      }
    }
    return mass ? { bounds, centre: { x: momentX / mass, y: momentY / mass } } : null;
  }

  /**
   * Resample by area: each output pixel is the mean ink of the square that it covers, so thin
   * strokes turn grey instead of breaking. Outside the sheet there is paper.
   *
   * `left`, `top` and `pixel` place the output on the sheet: its corner, and the side of one of its pixels.
   */
  function resample(ink, side, { left, top, pixel }) {
    const across = overlaps(left, pixel, side);
    const down = overlaps(top, pixel, side);
    return Uint8Array.from({ length: SIDE * SIDE }, (_, k) => {
      const rows = down[Math.floor(k / SIDE)];
      const columns = across[k % SIDE];
      let sum = 0;
      for (let y = rows.first; y < rows.end; y++) {
        for (let x = columns.first; x < columns.end; x++) {
          sum += ink[y * side + x] * rows.lengths[y - rows.first] * columns.lengths[x - columns.first];
        }
      }
      return Math.round((255 * sum) / (pixel * pixel));
    });
  }

  /** For each output pixel along one axis: the sheet's pixels under it, from `first` to before `end`, and how much of each. */
  function overlaps(start, pixel, side) {
    return Array.from({ length: SIDE }, (_, k) => {
      const [from, to] = [start + k * pixel, start + (k + 1) * pixel];
      const first = Math.max(0, Math.floor(from));
      const end = Math.min(side, Math.ceil(to));
      const lengths = Array.from({ length: Math.max(0, end - first) }, (_each, n) => Math.min(first + n + 1, to) - Math.max(first + n, from));
      return { first, end, lengths };
    });
  }

  /**
   * The 28×28 pixels, 0 to 255, of a sheet; null if it is empty.
   *
   * Returns {pixels, bounds, centre, frame, preprocess}: what was measured on the sheet, and where the
   * 28×28 pixels lie on it. Without `preprocess` the sheet is only made smaller.
   */
  function prepare(ink, side, preprocess) {
    const measured = measure(ink, side);
    if (!measured) return null;
    const { bounds, centre } = measured;
    const longest = Math.max(bounds.right - bounds.left, bounds.bottom - bounds.top);
    const pixel = preprocess ? longest / BOX : side / SIDE;
    const frame = preprocess
      ? { left: centre.x - (SIDE / 2) * pixel, top: centre.y - (SIDE / 2) * pixel, pixel }
      : { left: 0, top: 0, pixel };
    return { pixels: resample(ink, side, frame), bounds, centre, frame, preprocess };
  }

  return { SIDE, prepare };
})();
