/** One map, large: its pixels as squares, the padding around them, and marks on both. */
const plane = (() => {
  const SIDE = 336; // the least width of the canvas in its own pixels, so that lines are fine on small maps

  /**
   * Paint one map of a stack.
   *
   * `padding` is the number of hatched pixels around it; pixels from `upTo` on are left blank, as not
   * computed yet; `marks` are windows {y, x, height, width} to outline.
   */
  function paint(canvas, maps, channel, scale, { padding = 0, upTo = Infinity, marks = /** @type {Place[]} */ ([]) } = {}) {
    const { height, width, values } = maps;
    const zoom = Math.ceil(SIDE / (Math.max(height, width) + 2 * padding));
    markup.resize(canvas, (width + 2 * padding) * zoom, (height + 2 * padding) * zoom);
    const context = canvas.getContext("2d");
    context.fillStyle = colours.css(colours.GAP);
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (padding) hatch(context, canvas);
    const start = channel * height * width;
    for (let k = 0; k < Math.min(height * width, upTo); k++) {
      context.fillStyle = colours.css(scale.colour(values[start + k]));
      const [y, x] = [Math.floor(k / width) + padding, (k % width) + padding];
      context.fillRect(x * zoom, y * zoom, zoom, zoom);
    }
    for (const mark of marks) outline(context, mark, padding, zoom);
  }

  function hatch(context, canvas) {
    context.strokeStyle = colours.css(colours.MUTED);
    context.lineWidth = 1;
    context.beginPath();
    for (let x = -canvas.height; x < canvas.width; x += 6) {
      context.moveTo(x, canvas.height);
      context.lineTo(x + canvas.height, 0);
    }
    context.stroke();
  }

  /** Black within white: seen on every colour. */
  function outline(context, { y, x, height = 1, width = 1 }, padding, zoom) {
    const place = [(x + padding) * zoom, (y + padding) * zoom, width * zoom, height * zoom];
    for (const [colour, thickness] of [["#ffffff", 5], ["#000000", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.strokeRect(...place);
    }
  }

  /** The map's pixel under a pointer; its padding counts as its edge. */
  function pixelAt(canvas, event, { height, width, padding = 0 }) {
    const box = canvas.getBoundingClientRect();
    const along = (place, length, size) => Math.floor((place / length) * (size + 2 * padding)) - padding;
    const y = along(event.clientY - box.top, box.height, height);
    const x = along(event.clientX - box.left, box.width, width);
    return within({ y, x }, { height, width });
  }

  /** The pixel of a map whose value is farthest from zero. */
  function strongest({ height, width, values }, channel) {
    const map = values.subarray(channel * height * width, (channel + 1) * height * width);
    const best = map.reduce((top, value, k) => (Math.abs(value) > Math.abs(map[top]) ? k : top), 0);
    return { y: Math.floor(best / width), x: best % width };
  }

  /** The pixel of a map that is nearest to a place. */
  function within({ y, x }, { height, width }) {
    const clamp = (place, size) => Math.min(size - 1, Math.max(0, place));
    return { y: clamp(y, height), x: clamp(x, width) };
  }

  const STEPS = {
    ArrowUp: ({ y, x }) => ({ y: y - 1, x }),
    ArrowDown: ({ y, x }) => ({ y: y + 1, x }),
    ArrowLeft: ({ y, x }) => ({ y, x: x - 1 }),
    ArrowRight: ({ y, x }) => ({ y, x: x + 1 }),
    Home: ({ y }) => ({ y, x: 0 }),
    End: ({ y }, { width }) => ({ y, x: width - 1 }),
    PageUp: ({ x }) => ({ y: 0, x }),
    PageDown: ({ x }, { height }) => ({ y: height - 1, x }),
  };

  /** The pixel that a key leads to from another; null for other keys. */
  function step(event, place, size) {
    const leads = STEPS[event.key];
    if (!leads || event.ctrlKey || event.metaKey || event.altKey) return null;
    event.preventDefault();
    return within(leads(place, size), size);
  }

  /**
   * Let pointer and keyboard choose a pixel.
   *
   * `size()` gives {height, width, padding} and `place()` the chosen pixel; `move(pixel, how)` receives
   * the new one, `how` being "point", "press" or "key"; `leave()` is called when the pointer has left.
   */
  function choose(canvas, { size, place, move, leave = () => {} }) {
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") move(pixelAt(canvas, event, size()), "point");
    });
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("click", (event) => move(pixelAt(canvas, event, size()), "press"));
    canvas.addEventListener("keydown", (event) => {
      const pixel = step(event, place(), size());
      if (pixel) move(pixel, "key");
    });
  }

  return { choose, outline, paint, step, strongest, within };
})();
