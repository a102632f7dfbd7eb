"use strict";

/** Every map of a layer side by side on one scale, and the layers below each other. */
const featureMaps = (() => {
  const CELL = 56; // a map's side on the screen, pixels, where there is room
  const SMALLEST = 24;

  /** Screen pixels for each of a map's. */
  function zoomFor({ height, channels }) {
    const wanted = channels > 32 ? CELL / 2 : CELL;
    return Math.max(1, Math.round(Math.max(SMALLEST, wanted) / Math.max(height, 7)));
  }

  /** How the maps are laid out: in rows of `columns`, with a line between them. */
  function layout(maps, room) {
    const { channels, height, width } = maps;
    if (height * width === 1) {
      const zoom = Math.max(2, Math.floor(room / channels));
      const columns = Math.min(channels, Math.max(1, Math.floor(room / zoom)));
      return { columns, zoom, pitchX: 1, pitchY: 1, line: 0, tall: 16 };
    }
    const zoom = zoomFor(maps);
    const columns = Math.max(1, Math.min(channels, Math.floor((room / zoom - 1) / (width + 1))));
    return { columns, zoom, pitchX: width + 1, pitchY: height + 1, line: 1, tall: zoom };
  }

  /** Paint one layer into a canvas, one canvas pixel for each value; CSS enlarges it. */
  function paint(canvas, maps, scale, room) {
    const { channels, height, width, values } = maps;
    const { columns, zoom, pitchX, pitchY, line, tall } = layout(maps, room);
    const rows = Math.ceil(channels / columns);
    canvas.width = columns * pitchX + line;
    canvas.height = rows * pitchY + line;
    canvas.style.width = `${canvas.width * zoom}px`;
    canvas.style.height = `${canvas.height * tall}px`;
    const context = canvas.getContext("2d");
    context.fillStyle = colours.css(colours.GAP);
    context.fillRect(0, 0, canvas.width, canvas.height);
    const picture = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let channel = 0; channel < channels; channel++) {
      const left = (channel % columns) * pitchX + line;
      const top = Math.floor(channel / columns) * pitchY + line;
      if (line && isSilent(maps, channel)) frame(picture, left - 1, top - 1, width + 2, height + 2);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const value = values[(channel * height + y) * width + x];
          put(picture, left + x, top + y, scale.colour(value));
        }
      }
    }
    context.putImageData(picture, 0, 0);
  }

  function put(picture, x, y, [red, green, blue]) {
    const k = 4 * (y * picture.width + x);
    picture.data[k] = red;
    picture.data[k + 1] = green;
    picture.data[k + 2] = blue;
    picture.data[k + 3] = 255;
  }

  function frame(picture, left, top, width, height) {
    for (let x = left; x < left + width; x++) {
      put(picture, x, top, colours.MUTED);
      put(picture, x, top + height - 1, colours.MUTED);
    }
    for (let y = top; y < top + height; y++) {
      put(picture, left, y, colours.MUTED);
      put(picture, left + width - 1, y, colours.MUTED);
    }
  }

  /** Zero everywhere, for this image. */
  function isSilent({ height, width, values }, channel) {
    const pixels = height * width;
    return values.subarray(channel * pixels, (channel + 1) * pixels).every((value) => value === 0);
  }

  /** Which map, row and column lies under a pointer; null between the maps. */
  function pixelAt(canvas, event, maps, room) {
    const { columns, pitchX, pitchY, line } = layout(maps, room);
    const box = canvas.getBoundingClientRect();
    const across = Math.floor(((event.clientX - box.left) / box.width) * canvas.width) - line;
    const down = Math.floor(((event.clientY - box.top) / box.height) * canvas.height) - line;
    const channel = Math.floor(down / pitchY) * columns + Math.floor(across / pitchX);
    const [y, x] = [down % pitchY, across % pitchX];
    const inside = across >= 0 && down >= 0 && y < maps.height && x < maps.width;
    return inside && channel < maps.channels ? { channel, y, x } : null;
  }

  /** What a layer's canvas shows, in words. */
  function describe(name, maps, scale) {
    const { channels, height, width, values } = maps;
    const range = `from ${colours.short(scale.low)} to ${colours.short(scale.high)}`;
    if (height * width === 1) return `${name}: ${channels} neurons, on a scale ${range}`;
    const silent = Array.from({ length: channels }, (_, c) => isSilent(maps, c)).filter(Boolean).length;
    const pixels = height * width;
    const strongest = Math.floor(values.reduce((best, v, k) => (v > values[best] ? k : best), 0) / pixels);
    return (
      `${name}: ${channels} maps of ${height}×${width} on a scale ${range}; ` +
      `the largest value is in map ${strongest}, ${silent} are zero everywhere`
    );
  }

  return { describe, isSilent, paint, pixelAt };
})();
