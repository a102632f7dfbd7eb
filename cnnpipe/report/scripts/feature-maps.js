/** Every map of one layer side by side, large, on one scale. */
const featureMaps = (() => {
  const LARGEST = 150; // a map's side on the screen, pixels
  const LARGEST_NEURON = 44;
  const HEIGHT = 400; // of all maps together, about, pixels
  const LINE = 2; // between maps, pixels

  /** How a layer lies on the screen, in pixels: maps of `tileWidth` × `tileHeight` in even rows of `columns`. */
  function layout({ channels, height, width }, room) {
    const wanted = Math.sqrt((room * HEIGHT) / channels) - LINE;
    const side = Math.min(height * width === 1 ? LARGEST_NEURON : LARGEST, wanted);
    const zoom = Math.max(1, Math.floor(side / Math.max(height, width)));
    const most = Math.max(1, Math.floor((room - LINE) / (width * zoom + LINE)));
    const rows = Math.ceil(channels / most);
    return { columns: Math.ceil(channels / rows), tileWidth: width * zoom, tileHeight: height * zoom, line: LINE };
  }

  /** Where a map's upper left corner lies on the canvas. */
  function cornerOf(channel, { columns, tileWidth, tileHeight, line }) {
    return {
      left: (channel % columns) * (tileWidth + line) + line,
      top: Math.floor(channel / columns) * (tileHeight + line) + line,
    };
  }

  const store = document.createElement("canvas"); // the maps below each other, unenlarged

  /** Paint one layer into a canvas, each value a square, and outline one of its maps. */
  function paint(canvas, maps, scale, room, marked) {
    const { channels, height, width, values } = maps;
    const tiles = layout(maps, room);
    const { columns, tileWidth, tileHeight, line } = tiles;
    colours.paint(store, values, width, scale);

    canvas.width = columns * (tileWidth + line) + line;
    canvas.height = Math.ceil(channels / columns) * (tileHeight + line) + line;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.fillStyle = colours.css(colours.GAP);
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = colours.css(colours.MUTED);
    for (let channel = 0; channel < channels; channel++) {
      const { left, top } = cornerOf(channel, tiles);
      context.drawImage(store, 0, channel * height, width, height, left, top, tileWidth, tileHeight);
      if (isSilent(maps, channel)) context.strokeRect(left + 0.5, top + 0.5, tileWidth - 1, tileHeight - 1);
    }
    if (marked === undefined) return;
    const { left, top } = cornerOf(marked, tiles);
    context.strokeStyle = "#000000";
    context.lineWidth = 2.5;
    context.strokeRect(left, top, tileWidth, tileHeight);
  }

  /** Zero everywhere, for this image. */
  function isSilent({ height, width, values }, channel) {
    const pixels = height * width;
    return values.subarray(channel * pixels, (channel + 1) * pixels).every((value) => value === 0);
  }

  /** Which map, row and column lies under a pointer; null between the maps. */
  function pixelAt(canvas, event, maps, room) {
    const tiles = layout(maps, room);
    const box = canvas.getBoundingClientRect();
    const across = event.clientX - box.left - tiles.line;
    const down = event.clientY - box.top - tiles.line;
    const [pitchX, pitchY] = [tiles.tileWidth + tiles.line, tiles.tileHeight + tiles.line];
    const channel = Math.floor(down / pitchY) * tiles.columns + Math.floor(across / pitchX);
    const y = Math.floor(((down % pitchY) / tiles.tileHeight) * maps.height);
    const x = Math.floor(((across % pitchX) / tiles.tileWidth) * maps.width);
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

  return { describe, layout, paint, pixelAt };
})();
