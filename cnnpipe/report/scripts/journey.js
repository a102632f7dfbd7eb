/**
 * The whole network in one picture: every map of every layer, and what contributes to what.
 *
 * A layer is a column of maps on a wide screen, and a row of maps on a narrow one. Lengths are called
 * `along` the network, from the image to the answer, and `across` it. Sums and normalisations are not
 * shown where an activation follows. A wire is a contribution to the answer (`backward`).
 */
const journey = (() => {
  const [INPUT, SOFTMAX] = ["input", "softmax"]; // what comes before the first layer and after the last
  const WIRES = 60; // between two layers: the strongest
  const [LINE, STRIP] = [2, 13]; // pixels between maps; extent of a layer of neurons
  const [WIDE, TIGHT, UPRIGHT] = [32, 22, 7]; // pixels between layers; the second where maps would get small
  const SMALL = 30; // side of a map, pixels
  const LARGEST = 76; // side of a map, pixels
  const LETTER = 6.6; // width of a letter of a layer's name, pixels
  /** Red, green and blue of wires that raise the answer, and of those that lower it. */
  const WIRE = { light: ["31 111 181", "194 84 10"], dark: ["132 185 236", "240 160 106"] };

  const SUMS = new Set(["conv2d", "linear"]);
  const GOES_ON = new Set(["batch_norm2d", "relu", "tanh", "sigmoid"]); // belongs to the sum before it

  /** The layers to show: {name, index}; the image is before the first layer, softmax after the last. */
  function layersOf({ layers }) {
    const isFollowed = ({ kind }, k) => (SUMS.has(kind) || kind === "batch_norm2d") && GOES_ON.has(layers[k + 1]?.kind);
    const shown = layers.map((layer, index) => (isFollowed(layer, index) ? null : { name: layer.name, index }));
    return [{ name: INPUT, index: -1 }, ...shown.filter(Boolean), { name: SOFTMAX, index: layers.length }];
  }

  /**
   * What a layer gives out; of softmax the probabilities, as maps of one pixel.
   *
   * @param {Result} result
   * @param {number} index
   */
  function mapsOf(result, index) {
    if (index === -1) return result.input;
    if (index < result.outputs.length) return result.outputs[index];
    return { channels: result.probabilities.length, height: 1, width: 1, values: /** @type {any} */ (result.probabilities) };
  }

  /** The scale of a layer's colours: of the image from paper to ink, of probabilities from 0 to 1. */
  function scaleOf(model, result, index) {
    if (index === -1) return imageScale(model);
    return colours.scaleOf(index < result.outputs.length ? result.outputs[index].values : Float32Array.of(1));
  }

  /** Of normalised images: from paper to full ink. */
  function imageScale({ normalization: { mean, std } }) {
    return colours.inkScale(-mean / std, (1 - mean) / std);
  }

  /** Where everything lies in a box of width × height pixels; `upright` has the image at the top. */
  function layout(model, result, { width, height, upright }) {
    const [along, across] = upright ? [height, width] : [width, height];
    const shown = layersOf(model);
    let columns = [];
    let free = 0;
    for (let least = 48; least > 4; least--) {
      columns = shown.map((layer) => columnOf(layer, mapsOf(result, layer.index), across, least));
      free = along - columns.reduce((sum, { extent }) => sum + extent, 0);
      const wanted = upright ? UPRIGHT : least > SMALL ? WIDE : TIGHT;
      if (free >= wanted * (columns.length - 1)) break;
    }
    if (upright) arrange(columns, free / (columns.length - 1), 0);
    else spread(columns, along);
    for (const column of columns) column.upright = upright;
    return columns;
  }

  /** Put columns one behind the other, `gap` pixels apart, or farther so that their names do not touch; returns the end. */
  function arrange(columns, gap, letter = LETTER) {
    const named = ({ name, maps }) => letter * Math.max(...labelOf(name, maps).map(({ length }) => length));
    columns.forEach((column, k) => {
      const before = columns[k - 1];
      if (!before) return Object.assign(column, { start: 0 });
      const middles = (named(before) + named(column)) / 2 + letter;
      return Object.assign(column, {
        start: before.start + Math.max(before.extent + gap, middles + (before.extent - column.extent) / 2),
      });
    });
    return columns.at(-1).start + columns.at(-1).extent;
  }

  /** Put columns behind each other so that they fill the length, with the widest gap that lets them. */
  function spread(columns, along) {
    let [narrow, wide] = [0, along];
    while (wide - narrow > 0.5) {
      const gap = (narrow + wide) / 2;
      if (arrange(columns, gap) > along) wide = gap;
      else narrow = gap;
    }
    arrange(columns, narrow);
  }

  /** A layer's name in lines, and the size of its maps, or their number. */
  function labelOf(name, { channels, height, width }) {
    const size = height * width > 1 ? `${channels > 1 ? `${channels}×` : ""}${height}²` : String(channels);
    return [...name.split("_"), size];
  }

  /** One layer's maps in lanes beside each other, so that none is smaller than `least` if that can be. */
  function columnOf({ name, index }, maps, across, least) {
    const { channels, height, width } = maps;
    const cell = across / channels;
    if (height * width === 1) return { name, index, maps, lanes: 1, pitch: cell, tile: cell, extent: STRIP };
    const largest = LARGEST * (0.6 + (0.4 * width) / 28);
    const tileOf = (lanes) => Math.min(largest, across / Math.ceil(channels / lanes) - LINE);
    let lanes = 1;
    while (tileOf(lanes) < Math.min(least, largest) && lanes < channels) lanes++;
    const tile = Math.max(1, Math.floor(tileOf(lanes)));
    const pitch = across / Math.ceil(channels / lanes);
    return { name, index, maps, lanes, pitch, tile, extent: lanes * (tile + LINE) - LINE };
  }

  /** Where a map lies, {x, y, width, height}. */
  function boxOf({ maps, lanes, pitch, tile, extent, start, upright }, channel) {
    const isStrip = maps.height * maps.width === 1;
    const from = start + (isStrip ? 0 : (channel % lanes) * (tile + LINE));
    const place = Math.floor(channel / lanes) * pitch + (isStrip ? 0 : (pitch - tile) / 2);
    const long = isStrip ? extent : tile;
    return upright ? { x: place, y: from, width: tile, height: long } : { x: from, y: place, width: long, height: tile };
  }

  /** The map under a point, {index, name, channel, y, x} with its pixel; null beside the maps. */
  function at(columns, x, y) {
    for (const column of columns) {
      for (let channel = 0; channel < column.maps.channels; channel++) {
        const box = boxOf(column, channel);
        const [right, down] = [(x - box.x) / box.width, (y - box.y) / box.height];
        if (right >= 0 && right < 1 && down >= 0 && down < 1) {
          const { height, width } = column.maps;
          return { index: column.index, name: column.name, channel, y: Math.floor(down * height), x: Math.floor(right * width) };
        }
      }
    }
    return null;
  }

  /**
   * What flows between two shown layers: [from map, to map, contribution] of the strongest.
   *
   * Where a layer between them sums it has its own shares; else each map only goes on to its next form.
   */
  function wiresBetween(result, { layers }, before, after) {
    const last = Math.min(after.index, layers.length - 1);
    for (let k = before.index + 1; k <= last; k++) {
      const { shares } = layers[k];
      if (!shares) continue;
      const inputs = shares.length / result.outputs[k].channels;
      return strongest(shares, (entry) => [entry % inputs, Math.floor(entry / inputs)]);
    }
    return strongest(backward.contributions(result.outputs[last], layers[last].gradient), (map) => [map, map]);
  }

  /** `ends(k)` are the maps that share k joins. */
  function strongest(shares, ends) {
    const flowing = [];
    shares.forEach((share, k) => share !== 0 && flowing.push(k));
    const sorted = flowing.toSorted((a, b) => Math.abs(shares[b]) - Math.abs(shares[a]));
    return sorted.slice(0, WIRES).map((k) => ends(k).concat(shares[k]));
  }

  /**
   * All wires of a network, a list for each gap between shown layers.
   *
   * @param {Model} model
   * @param {Result} result
   * @param {ReturnType<typeof backward.run>} flow
   */
  function wiresOf(model, result, flow) {
    const shown = layersOf(model);
    return shown.slice(1).map((after, k) => wiresBetween(result, flow, shown[k], after));
  }

  const stores = []; // a canvas for each shown layer: its maps below each other, unenlarged

  /** Paint all: wires, then maps over them. `marked` {index, channel} is told from the others. */
  function paint(context, columns, { model, result, wires, marked, scheme, rule }) {
    wires?.forEach((each, k) => paintWires(context, columns[k], columns[k + 1], each, { marked, scheme }));
    context.imageSmoothingEnabled = false;
    for (const [k, column] of columns.entries()) {
      const { maps, index } = column;
      const store = (stores[k] ??= document.createElement("canvas"));
      if (result) colours.paint(store, maps.values, maps.width, scaleOf(model, result, index));
      context.lineWidth = 1;
      context.strokeStyle = rule;
      for (let channel = 0; channel < maps.channels; channel++) {
        const { x, y, width, height } = boxOf(column, channel);
        const source = [0, channel * maps.height, maps.width, maps.height];
        if (result) context.drawImage(store, ...source, x, y, width, height);
        else context.clearRect(x, y, width, height);
        if (maps.height * maps.width > 1) context.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
      }
      if (maps.height * maps.width === 1) outlineStrip(context, column);
    }
    if (!marked) return;
    const { x, y, width, height } = boxOf(columns.find(({ index }) => index === marked.index), marked.channel ?? 0);
    plane.outline(context, { x: x - 1, y: y - 1, width: width + 2, height: height + 2 }, 0, 1);
  }

  function outlineStrip(context, column) {
    const [first, last] = [boxOf(column, 0), boxOf(column, column.maps.channels - 1)];
    context.strokeRect(first.x - 0.5, first.y - 0.5, last.x + last.width - first.x + 1, last.y + last.height - first.y + 1);
  }

  /** A wire's darkness is its part of the strongest in its gap; those of the marked map stand out. */
  function paintWires(context, before, after, wires, { marked, scheme }) {
    const most = Math.abs(wires[0]?.[2] ?? 1);
    const touches = (column, channel) => marked.index === column.index && marked.channel === channel;
    for (const [from, to, share] of wires.toReversed()) {
      const stands = marked && (touches(before, from) || touches(after, to));
      const strength = (Math.abs(share) / most) ** 0.7 * (marked && !stands ? 0.15 : 0.85);
      context.strokeStyle = `rgb(${WIRE[scheme][share > 0 ? 0 : 1]} / ${strength.toFixed(3)})`;
      context.lineWidth = stands ? 2 : 1.25;
      curve(context, boxOf(before, from), boxOf(after, to), before.upright);
    }
  }

  function curve(context, a, b, upright) {
    const [x0, y0] = upright ? [a.x + a.width / 2, a.y + a.height] : [a.x + a.width, a.y + a.height / 2];
    const [x1, y1] = upright ? [b.x + b.width / 2, b.y] : [b.x, b.y + b.height / 2];
    const [middleX, middleY] = [(x0 + x1) / 2, (y0 + y1) / 2];
    context.beginPath();
    context.moveTo(x0, y0);
    if (upright) context.bezierCurveTo(x0, middleY, x1, middleY, x1, y1);
    else context.bezierCurveTo(middleX, y0, middleX, y1, x1, y1);
    context.stroke();
  }

  return { INPUT, SOFTMAX, at, boxOf, imageScale, labelOf, layersOf, layout, mapsOf, paint, scaleOf, wiresOf };
})();
