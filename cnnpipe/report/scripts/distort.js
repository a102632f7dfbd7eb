/**
 * What can happen to an image: the corruptions of cnnpipe/handcrafted/corruptions.py, with the same
 * definitions, for one image of 28×28 stored pixels, 0 to 255. Where those draw at random (direction, place,
 * noise), here the reader chooses, or one fixed draw is taken.
 */
const distort = (() => {
  const SIDE = digit.SIDE;
  const CENTRE = (SIDE - 1) / 2;
  const REACH = 4; // of a blur's kernel, in standard deviations

  /** Rounded as NumPy does, halves to even, and clipped to what can be stored. */
  function stored(values) {
    return Uint8Array.from(values, (value) => {
      const down = Math.floor(value);
      const up = value - down > 0.5 || (value - down === 0.5 && down % 2 !== 0);
      return Math.min(255, Math.max(0, down + (up ? 1 : 0)));
    });
  }

  const at = (pixels, y, x) => (y >= 0 && y < SIDE && x >= 0 && x < SIDE ? pixels[y * SIDE + x] : 0);
  const image = (value) => Float64Array.from({ length: SIDE * SIDE }, (_, k) => value(Math.floor(k / SIDE), k % SIDE));

  /** Moved by whole pixels; what leaves is lost, 0 comes in. */
  const shift = (pixels, down, right) => stored(image((y, x) => at(pixels, y - down, x - right)));

  /** Each output pixel p is read, bilinearly, at A·(p − c) + c, c the centre; outside is 0. */
  function resampled(pixels, [[a, b], [c, d]]) {
    return stored(
      image((y, x) => {
        const row = a * (y - CENTRE) + b * (x - CENTRE) + CENTRE;
        const column = c * (y - CENTRE) + d * (x - CENTRE) + CENTRE;
        if (row < 0 || row > SIDE - 1 || column < 0 || column > SIDE - 1) return 0;
        const [top, left] = [Math.floor(row), Math.floor(column)];
        const [low, right] = [row - top, column - left];
        return (
          (1 - low) * ((1 - right) * at(pixels, top, left) + right * at(pixels, top, left + 1)) +
          low * ((1 - right) * at(pixels, top + 1, left) + right * at(pixels, top + 1, left + 1))
        );
      }),
    );
  }

  function rotation(pixels, degrees) {
    const [cos, sin] = [Math.cos, Math.sin].map((f) => f((degrees * Math.PI) / 180));
    return resampled(pixels, [[cos, -sin], [sin, cos]]);
  }

  /** Enlarged by 1 + change; by its inverse where change is negative. */
  function scale(pixels, change) {
    const factor = change < 0 ? 1 / (1 - change) : 1 + change;
    return resampled(pixels, [[1 / factor, 0], [0, 1 / factor]]);
  }

  /** Numbers from 0 to 1, the same for the same seed (mulberry32). */
  function random(seed) {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  /** Standard normal numbers, one for each pixel (Box and Muller). */
  function normal(seed) {
    const uniform = random(seed);
    return image(() => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
  }

  /** Gaussian noise on each pixel; `sigma` is a fraction of the range from background to ink. */
  const noise = (pixels, sigma, seed = 1) => {
    const drawn = normal(seed);
    return stored(drawn.map((value, k) => pixels[k] + 255 * sigma * value));
  };

  /** Convolved with a Gaussian of `sigma` pixels, along columns and then along rows. */
  function blur(pixels, sigma) {
    const reach = Math.floor(REACH * sigma + 0.5);
    const taps = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-0.5 * ((k - reach) / sigma) ** 2));
    const total = taps.reduce((a, b) => a + b, 0);
    const along = (source, dy, dx) =>
      image((y, x) => taps.reduce((sum, tap, k) => sum + (tap / total) * at(source, y + (k - reach) * dy, x + (k - reach) * dx), 0));
    return stored(along(along(pixels, 1, 0), 0, 1));
  }

  /** Mixed with its negative: x ↦ (1 − share)·x + share·(255 − x). */
  const inversion = (pixels, share) => stored(Float64Array.from(pixels, (x) => (1 - share) * x + share * (255 - x)));

  /** A square of `side` pixels set to 0. */
  const occlusion = (pixels, side, top, left) =>
    stored(image((y, x) => (y >= top && y < top + side && x >= left && x < left + side ? 0 : pixels[y * SIDE + x])));

  /**
   * All that the reader asked for: first what moves pixels, then what changes their values. `chosen` has the
   * sliders' values by name; those that are absent change nothing.
   */
  function apply(pixels, chosen) {
    const { down = 0, right = 0, rotation: degrees = 0, scale: change = 0 } = chosen;
    const { noise: deviation = 0, blur: sigma = 0, inversion: share = 0, occlusion: side = 0 } = chosen;
    const middle = Math.floor((SIDE - side) / 2);
    const { top = middle, left = middle } = chosen;
    let result = pixels;
    if (down || right) result = shift(result, down, right);
    if (degrees) result = rotation(result, degrees);
    if (change) result = scale(result, change);
    if (deviation) result = noise(result, deviation);
    if (sigma) result = blur(result, sigma);
    if (share) result = inversion(result, share);
    if (side) result = occlusion(result, side, top, left);
    return result;
  }

  return { apply, blur, inversion, noise, occlusion, rotation, scale, shift };
})();
