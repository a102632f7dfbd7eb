/** One output pixel taken apart: the patch, the kernel, their products, and what becomes of the sum. */
const convolution = (() => {
  /** Where the window of output pixel (y, x) meets the input: one {y, x} for each entry of the kernel. */
  function window(geometry, y, x) {
    const { height, width, stride = 1, padding = 0, dilation = 1 } = geometry;
    const places = [];
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        places.push({ y: y * stride + i * dilation - padding, x: x * stride + j * dilation - padding });
      }
    }
    return places;
  }

  function geometryOf({ weight, stride, padding, dilation }) {
    const [, , height, width] = weight.shape;
    return { height, width, stride, padding, dilation };
  }

  /** The pixel of a map, and 0 in the padding around it. */
  function pixel(maps, channel, { y, x }) {
    const inside = y >= 0 && y < maps.height && x >= 0 && x < maps.width;
    return inside ? maps.values[(channel * maps.height + y) * maps.width + x] : 0;
  }

  /** For one output pixel, each input channel's patch, kernel, products and their sum. */
  function terms(layer, input, outChannel, y, x) {
    const [, inChannels, height, width] = layer.weight.shape;
    const places = window(geometryOf(layer), y, x);
    return Array.from({ length: inChannels }, (_, channel) => {
      const start = (outChannel * inChannels + channel) * height * width;
      const kernel = Array.from(layer.weight.values.subarray(start, start + height * width));
      const patch = places.map((place) => pixel(input, channel, place));
      const products = patch.map((value, k) => value * kernel[k]);
      return { patch, kernel, products, sum: products.reduce((a, b) => a + b, 0) };
    });
  }

  /**
   * The layers that a convolution's output passes before the next one sums again:
   * {norm, activation, pool}, each as its index among the network's layers, where there is one.
   */
  function followers(layers, index) {
    const found = {};
    for (let k = index + 1; k < layers.length; k++) {
      const { kind } = layers[k];
      if (kind === "conv2d" || kind === "linear") break;
      if (kind === "batch_norm2d") found.norm = k;
      else if (kind.endsWith("_pool2d")) found.pool = k;
      else found.activation = k;
    }
    return found;
  }

  /** The pooling window that an output pixel falls into; none where the window hangs over the edge. */
  function poolingWindow(maps, kernelSize, channel, y, x) {
    const row = Math.floor(y / kernelSize);
    const column = Math.floor(x / kernelSize);
    if ((row + 1) * kernelSize > maps.height || (column + 1) * kernelSize > maps.width) return null;
    const places = window({ height: kernelSize, width: kernelSize, stride: kernelSize }, row, column);
    return { row, column, places, values: places.map((place) => pixel(maps, channel, place)) };
  }

  return { followers, geometryOf, pixel, poolingWindow, terms, window };
})();
