/**
 * Ink: a square sheet of side × side numbers from 0 (paper) to 1 (ink), and pens that draw on it.
 *
 * Drawn here and not by the canvas, so that every browser gives a network the same pixels. A stroke is
 * {points: [{x, y, pressure}], width}, in units of the sheet's side.
 */
const ink = (() => {
  const UNSEEN = 5 / 255; // a difference of ink that is not seen
  const SIDE = 336; // 12 × 28: each of a digit's pixels is a whole number of the sheet's

  const sheet = () => new Float32Array(SIDE * SIDE);

  /** How far a point lies from the segment a–b, and where along it, from 0 to 1, the nearest point is. */
  function nearest(x, y, a, b) {
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const length = dx * dx + dy * dy;
    const along = length ? Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) / length)) : 0;
    return { along, distance: Math.hypot(x - a.x - along * dx, y - a.y - along * dy) };
  }

  /** Radius of the pen in the sheet's pixels; a light pen draws half as wide as a firm one. */
  function radius(point, width) {
    return (width * SIDE * (0.5 + 0.5 * point.pressure)) / 2;
  }

  /**
   * A segment with round ends. A pixel takes the darkest ink that touched it, with a soft edge; what is as
   * dark already, as far as eyes can tell, stays as it is.
   */
  function segment(target, from, to, width) {
    const a = { x: from.x * SIDE, y: from.y * SIDE, radius: radius(from, width) };
    const b = { x: to.x * SIDE, y: to.y * SIDE, radius: radius(to, width) };
    const reach = Math.max(a.radius, b.radius) + 1;
    const [top, bottom] = span(a.y, b.y, reach);
    const [left, right] = span(a.x, b.x, reach);
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const { along, distance } = nearest(x + 0.5, y + 0.5, a, b);
        const cover = a.radius + along * (b.radius - a.radius) + 0.5 - distance;
        if (Math.min(1, cover) > target[y * SIDE + x] + UNSEEN) target[y * SIDE + x] = Math.min(1, cover);
      }
    }
  }

  function span(a, b, reach) {
    const first = Math.max(0, Math.floor(Math.min(a, b) - reach));
    return [first, Math.min(SIDE, Math.ceil(Math.max(a, b) + reach))];
  }

  /** All of a stroke, from the dot that it begins with. */
  function draw(target, { points, width }) {
    segment(target, points[0], points[0], width);
    for (let k = 1; k < points.length; k++) segment(target, points[k - 1], points[k], width);
  }

  /** A small image of 0 to 255 as ink, each pixel a square. */
  function enlarge(pixels) {
    const side = Math.round(Math.sqrt(pixels.length));
    const size = SIDE / side;
    return sheet().map((_, k) => {
      const y = Math.floor(Math.floor(k / SIDE) / size);
      const x = Math.floor((k % SIDE) / size);
      return pixels[y * side + x] / 255;
    });
  }

  // Strokes as text for the page's address: 12 bits for each coordinate, 6 for the pressure, the width in
  // thousandths; 6 bits a letter. What is drawn is what can be written, so that it comes back bit for bit.

  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const [FINE, FIRM] = [4095, 63]; // steps of a coordinate, and of the pressure

  const pairOf = (value) => LETTERS[value >> 6] + LETTERS[value & 63];
  const valueOf = (text) => [...text].reduce((all, letter) => 64 * all + LETTERS.indexOf(letter), 0);
  const steps = (part, count) => Math.round(Math.min(1, Math.max(0, part)) * count);

  /** The point next to the given one that can be written. */
  function snap({ x, y, pressure }) {
    return { x: steps(x, FINE) / FINE, y: steps(y, FINE) / FINE, pressure: steps(pressure, FIRM) / FIRM };
  }

  function encode(strokes) {
    const point = ({ x, y, pressure }) =>
      pairOf(steps(x, FINE)) + pairOf(steps(y, FINE)) + LETTERS[steps(pressure, FIRM)];
    return strokes.map(({ points, width }) => pairOf(Math.round(width * 1000)) + points.map(point).join("")).join(".");
  }

  /** The strokes of a text; null if it is none. */
  function decode(text) {
    if (!/^(?:[\w-]{2}(?:[\w-]{5})+(?:\.|$))*$/.test(text)) return null;
    return text
      .split(".")
      .filter(Boolean)
      .map((stroke) => ({
        width: valueOf(stroke.slice(0, 2)) / 1000,
        points: stroke
          .slice(2)
          .match(/.{5}/g)
          .map((point) => ({
            x: valueOf(point.slice(0, 2)) / FINE,
            y: valueOf(point.slice(2, 4)) / FINE,
            pressure: valueOf(point[4]) / FIRM,
          })),
      }));
  }

  return { SIDE, decode, draw, encode, enlarge, segment, sheet, snap };
})();
