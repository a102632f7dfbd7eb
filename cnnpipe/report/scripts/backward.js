/**
 * The backward pass: the gradient of one logit, and what each map contributes to it.
 *
 * A contribution is gradient × activation, summed over a map's pixels. Of a layer that sums, convolution
 * or fully connected, it is told apart by where it goes, `shares[o][c]`:
 *
 *   Σ_p in[c, p] · (the part of ∂logit/∂in[c, p] that comes back through output map o)
 *
 * which is Σ_ij weight · ∂logit/∂weight over the kernel that joins map c to map o. Source: Shrikumar,
 * Greenside, Kundaje, "Learning important features through propagating activation differences", 2017.
 */
const backward = (() => {
  /**
   * Of convolution: each output's gradient goes back by the kernel's entries to the pixels that they multiplied.
   * Behind ReLU and max pooling most gradients are zero, and send nothing.
   */
  function conv2d(input, output, gradient, { weight, stride = 1, padding = 0, dilation = 1 }) {
    const [outChannels, inChannels, kernelHeight, kernelWidth] = weight.shape;
    const padded = network.pad(input, padding);
    const back = network.stack(inChannels, padded.height, padded.width);
    const shares = new Float32Array(outChannels * inChannels);
    const size = inChannels * kernelHeight * kernelWidth;
    const pixels = output.height * output.width;
    gradient.values.forEach((slope, k) => {
      if (slope === 0) return;
      const o = Math.floor(k / pixels);
      const y = Math.floor((k % pixels) / output.width) * stride;
      const x = (k % output.width) * stride;
      let entry = o * size;
      for (let c = 0; c < inChannels; c++) {
        let share = 0;
        for (let i = 0; i < kernelHeight; i++) {
          const row = (c * padded.height + y + i * dilation) * padded.width + x;
          for (let j = 0; j < kernelWidth; j++) {
            const passed = weight.values[entry++] * slope;
            back.values[row + j * dilation] += passed;
            share += passed * padded.values[row + j * dilation];
          }
        }
        shares[o * inChannels + c] += share;
      }
    });
    return { back: network.crop(back, padding), shares };
  }

  function linear(input, _output, gradient, { weight }) {
    const [outputs, inputs] = weight.shape;
    const { channels, height, width } = input;
    const back = network.stack(channels, height, width);
    const shares = new Float32Array(outputs * channels);
    for (let o = 0; o < outputs; o++) {
      if (gradient.values[o] === 0) continue;
      for (let k = 0; k < inputs; k++) {
        const passed = weight.values[o * inputs + k] * gradient.values[o];
        back.values[k] += passed;
        shares[o * channels + Math.floor(k / (height * width))] += passed * input.values[k];
      }
    }
    return { back, shares };
  }

  /** Of a layer that works number by number: `slope(output, channel)` is its derivative. */
  const pointwise = (slope) => (input, output, gradient, layer) => {
    const back = network.stack(input.channels, input.height, input.width);
    const pixels = input.height * input.width;
    for (let c = 0; c < input.channels; c++) {
      const derivative = slope(layer, c);
      for (let k = c * pixels; k < (c + 1) * pixels; k++) {
        back.values[k] = gradient.values[k] * derivative(output.values[k]);
      }
    }
    return { back };
  };

  /** Of pooling: `give(values, places, gradient, back)` hands one window's gradient to its pixels. */
  const pool2d = (give) => (input, output, gradient, { kernel_size: size }) => {
    const back = network.stack(input.channels, input.height, input.width);
    const places = new Int32Array(size * size);
    gradient.values.forEach((passed, k) => {
      if (passed === 0) return;
      const [row, x] = [Math.floor(k / output.width), (k % output.width) * size];
      const [c, y] = [Math.floor(row / output.height), (row % output.height) * size];
      const corner = (c * input.height + y) * input.width + x;
      for (let n = 0; n < places.length; n++) places[n] = corner + Math.floor(n / size) * input.width + (n % size);
      give(input.values, places, passed, back.values);
    });
    return { back };
  };

  /** The whole gradient goes to the largest value, the first of several. */
  function toLargest(values, places, gradient, back) {
    back[places.reduce((best, each) => (values[each] > values[best] ? each : best))] += gradient;
  }

  function toAll(_values, places, gradient, back) {
    for (const place of places) back[place] += gradient / places.length;
  }

  const through = {
    conv2d,
    linear,
    batch_norm2d: pointwise((layer, channel) => {
      const { scale } = network.batchNormLine(layer, channel);
      return () => scale;
    }),
    max_pool2d: pool2d(toLargest),
    avg_pool2d: pool2d(toAll),
    relu: pointwise(() => (y) => (y > 0 ? 1 : 0)),
    tanh: pointwise(() => (y) => 1 - y * y),
    sigmoid: pointwise(() => (y) => y * (1 - y)),
  };

  /**
   * From the logit of a class back to the image.
   *
   * `result` is what `network.run` returned. Returns for each layer the gradient of its output and,
   * where it sums, its shares as a row for each output map; and the gradient of the input.
   *
   * @param {Model} model
   * @param {Result} result
   * @param {number} target
   */
  function run(model, result, target) {
    /** @type {{gradient: Maps, shares?: Float32Array}[]} */
    const layers = [];
    let gradient = network.stack(result.logits.length, 1, 1);
    gradient.values[target] = 1;
    for (let k = model.layers.length - 1; k >= 0; k--) {
      const layer = model.layers[k];
      network.silence(model, layer, gradient, result.silenced);
      const input = k ? result.outputs[k - 1] : result.input;
      const { back, shares } = through[layer.kind](input, result.outputs[k], gradient, layer);
      layers[k] = { gradient, shares };
      gradient = back;
    }
    return { layers, input: gradient };
  }

  /** What each map contributes: gradient × activation, summed over its pixels. */
  function contributions({ channels, height, width, values }, gradient) {
    const sums = new Float32Array(channels);
    values.forEach((value, k) => (sums[Math.floor(k / (height * width))] += value * gradient.values[k]));
    return sums;
  }

  return { contributions, run };
})();
