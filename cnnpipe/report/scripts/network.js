/**
 * The forward pass of a convolutional network, on plain arrays.
 *
 * What goes from layer to layer is a stack of maps, {channels, height, width, values}. `values` is
 * a Float32Array in which map c has its pixel in row y, column x at (c · height + y) · width + x.
 * Neurons are maps of one pixel. Sums are kept in float64 and rounded to float32 once.
 *
 * A layer is what stands in the page's JSON, with its tensors as Float32Arrays:
 * {name, kind, weight: {shape, values}, bias, …}. Shapes are PyTorch's.
 */
const network = (() => {
  /** @returns {Maps} */
  const stack = (channels, height, width) => ({
    channels,
    height,
    width,
    values: new Float32Array(channels * height * width),
  });

  /** Windows that fit along one axis: ⌊(size + 2·padding − dilation·(kernelSize − 1) − 1) / stride⌋ + 1. */
  function outputSize(size, { kernelSize, stride = 1, padding = 0, dilation = 1 }) {
    return Math.floor((size + 2 * padding - dilation * (kernelSize - 1) - 1) / stride) + 1;
  }

  /** Zeros around every map. */
  function pad(input, padding) {
    if (padding === 0) return input;
    const { channels, height, width, values } = input;
    const padded = stack(channels, height + 2 * padding, width + 2 * padding);
    for (let row = 0; row < channels * height; row++) {
      const channel = Math.floor(row / height);
      const y = (row % height) + padding;
      const start = (channel * padded.height + y) * padded.width + padding;
      padded.values.set(values.subarray(row * width, (row + 1) * width), start);
    }
    return padded;
  }

  /** Maps without their outermost `padding` rows and columns. */
  function crop(padded, padding) {
    if (padding === 0) return padded;
    const [height, width] = [padded.height - 2 * padding, padded.width - 2 * padding];
    const inner = stack(padded.channels, height, width);
    for (let row = 0; row < padded.channels * height; row++) {
      const y = Math.floor(row / height) * padded.height + (row % height) + padding;
      const start = y * padded.width + padding;
      inner.values.set(padded.values.subarray(start, start + width), row * width);
    }
    return inner;
  }

  /**
   * Cross-correlation, what the field calls convolution:
   *
   *   out[o, y, x] = bias[o] + Σ_c Σ_i Σ_j weight[o, c, i, j] · in[c, y·s + i·d − p, x·s + j·d − p]
   *
   * At each place the numbers under the kernels are gathered once, without zeros, which add nothing and are
   * most of them behind ReLU; four kernels at a time meet each number while it is at hand.
   *
   * @param {Maps} input
   * @param {Pick<Layer, "weight" | "bias" | "stride" | "padding" | "dilation">} layer
   */
  function conv2d(input, { weight, bias, stride = 1, padding = 0, dilation = 1 }) {
    const [outChannels, inChannels, kernelHeight, kernelWidth] = weight.shape;
    const height = outputSize(input.height, { kernelSize: kernelHeight, stride, padding, dilation });
    const width = outputSize(input.width, { kernelSize: kernelWidth, stride, padding, dilation });
    const padded = pad(input, padding);
    const { values: output, ...shape } = stack(outChannels, height, width);
    const weights = weight.values;
    const biases = bias?.values ?? new Float32Array(outChannels);
    const size = inChannels * kernelHeight * kernelWidth;
    const numbers = new Float64Array(size);
    const entries = new Int32Array(size); // of a kernel: those that meet the numbers
    for (let place = 0; place < height * width; place++) {
      const [y, x] = [Math.floor(place / width) * stride, (place % width) * stride];
      let [count, entry] = [0, 0];
      for (let c = 0; c < inChannels; c++) {
        for (let i = 0; i < kernelHeight; i++) {
          const row = (c * padded.height + y + i * dilation) * padded.width + x;
          for (let j = 0; j < kernelWidth; j++, entry++) {
            const number = padded.values[row + j * dilation];
            if (number === 0) continue;
            numbers[count] = number;
            entries[count++] = entry;
          }
        }
      }
      const last = outChannels - 1;
      for (let o0 = 0; o0 <= last; o0 += 4) {
        const [o1, o2, o3] = [Math.min(o0 + 1, last), Math.min(o0 + 2, last), Math.min(o0 + 3, last)];
        const [k0, k1, k2, k3] = [o0 * size, o1 * size, o2 * size, o3 * size];
        let [sum0, sum1, sum2, sum3] = [biases[o0], biases[o1], biases[o2], biases[o3]];
        for (let n = 0; n < count; n++) {
          const number = numbers[n];
          const at = entries[n];
          sum0 += weights[k0 + at] * number;
          sum1 += weights[k1 + at] * number;
          sum2 += weights[k2 + at] * number;
          sum3 += weights[k3 + at] * number;
        }
        output[o0 * height * width + place] = sum0;
        output[o1 * height * width + place] = sum1;
        output[o2 * height * width + place] = sum2;
        output[o3 * height * width + place] = sum3;
      }
    }
    return { ...shape, values: output };
  }

  /**
   * (x − mean) / √(variance + ε) · weight + bias, map by map, with the statistics of training; where the layer
   * has `ownStatistics`, with those of the maps that it is given.
   */
  function batchNorm2d(input, layer) {
    const output = stack(input.channels, input.height, input.width);
    const pixels = input.height * input.width;
    const used = layer.ownStatistics ? { ...layer, ...statistics(input) } : layer;
    for (let c = 0; c < input.channels; c++) {
      const { scale, shift } = batchNormLine(used, c);
      for (let k = c * pixels; k < (c + 1) * pixels; k++) {
        output.values[k] = input.values[k] * scale + shift;
      }
    }
    return output;
  }

  /** Mean and variance of each map, under the names that batch normalisation has for them. */
  function statistics({ channels, height, width, values }) {
    const means = new Float64Array(channels);
    const variances = new Float64Array(channels);
    const pixels = height * width;
    values.forEach((value, k) => (means[Math.floor(k / pixels)] += value / pixels));
    values.forEach((value, k) => (variances[Math.floor(k / pixels)] += (value - means[Math.floor(k / pixels)]) ** 2 / pixels));
    return { running_mean: { values: means }, running_var: { values: variances } };
  }

  /** Batch normalisation of one map as a straight line, x ↦ scale · x + shift. */
  function batchNormLine(layer, channel) {
    const [weight, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(
      (name) => layer[name].values[channel],
    );
    const scale = weight / Math.sqrt(variance + layer.epsilon);
    return { scale, shift: bias - mean * scale };
  }

  const activation = (f) => (input) => ({ ...input, values: input.values.map(f) });

  /** One number for each window of kernelSize × kernelSize pixels; the windows do not overlap. */
  function pool2d(input, kernelSize, summarise) {
    const height = outputSize(input.height, { kernelSize, stride: kernelSize });
    const width = outputSize(input.width, { kernelSize, stride: kernelSize });
    const output = stack(input.channels, height, width);
    const window = new Float32Array(kernelSize * kernelSize);
    let out = 0;
    for (let c = 0; c < input.channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const corner = (c * input.height + y * kernelSize) * input.width + x * kernelSize;
          for (let k = 0; k < window.length; k++) {
            const row = Math.floor(k / kernelSize);
            window[k] = input.values[corner + row * input.width + (k % kernelSize)];
          }
          output.values[out++] = summarise(window);
        }
      }
    }
    return output;
  }

  const largest = (window) => window.reduce((a, b) => Math.max(a, b), -Infinity);
  const mean = (window) => window.reduce((a, b) => a + b, 0) / window.length;

  /** out[o] = bias[o] + Σ_k weight[o, k] · in[k], over all pixels of all maps in their order. */
  function linear(input, { weight, bias }) {
    const [outputs, inputs] = weight.shape;
    const output = stack(outputs, 1, 1);
    for (let o = 0; o < outputs; o++) {
      let sum = bias.values[o];
      for (let k = 0; k < inputs; k++) sum += weight.values[o * inputs + k] * input.values[k];
      output.values[o] = sum;
    }
    return output;
  }

  const forward = {
    conv2d,
    linear,
    batch_norm2d: batchNorm2d,
    max_pool2d: (input, layer) => pool2d(input, layer.kernel_size, largest),
    avg_pool2d: (input, layer) => pool2d(input, layer.kernel_size, mean),
    relu: activation((x) => Math.max(0, x)),
    tanh: activation(Math.tanh),
    sigmoid: activation((x) => 1 / (1 + Math.exp(-x))),
  };

  /** exp(z_k) / Σ exp(z); the largest logit is taken off first, so that nothing overflows. */
  function softmax(logits) {
    const top = largest(logits);
    const powers = Float64Array.from(logits, (z) => Math.exp(z - top));
    const total = powers.reduce((a, b) => a + b, 0);
    return powers.map((power) => power / total);
  }

  /** Stored pixels, 0 to 255, as the network expects them: (pixel / 255 − mean) / deviation. */
  function normalise(pixels, side, { mean: average, std }) {
    const input = stack(1, side, side);
    input.values.set(Float64Array.from(pixels, (pixel) => (pixel / 255 - average) / std));
    return input;
  }

  /**
   * Run a network on one image.
   *
   * `silenced` are maps that are set to zero where their layer gives them out, each as
   * network.layer.map. Returns what each layer gives out, the logits, the probabilities, the class
   * that leads, and the time that it took in milliseconds.
   *
   * @param {Model} model
   * @param {Uint8Array} pixels
   * @param {string[]} silenced
   * @returns {Result}
   */
  function run(model, pixels, silenced = []) {
    const start = performance.now();
    const input = normalise(pixels, Math.round(Math.sqrt(pixels.length)), model.normalization);
    const outputs = [];
    let output = input;
    for (const layer of model.layers) {
      output = forward[layer.kind](output, layer);
      silence(model, layer, output, silenced);
      outputs.push(output);
    }
    const probabilities = softmax(output.values);
    const milliseconds = performance.now() - start;
    const prediction = probabilities.indexOf(largest(probabilities));
    return { input, outputs, logits: output.values, probabilities, prediction, silenced, milliseconds };
  }

  /** The class with the largest mean probability, and that mean; of results of `run`. */
  function vote(results) {
    const means = results[0].probabilities.map(
      (_, k) => results.reduce((sum, { probabilities }) => sum + probabilities[k], 0) / results.length,
    );
    const probability = largest(means);
    return { prediction: means.indexOf(probability), probability };
  }

  /** Set those of a layer's maps to zero that are silenced. */
  function silence({ name }, layer, { height, width, values }, silenced) {
    const prefix = `${name}.${layer.name}.`;
    for (const each of silenced) {
      const map = Number(each.slice(prefix.length));
      if (each.startsWith(prefix)) values.fill(0, map * height * width, (map + 1) * height * width);
    }
  }

  /** A network as the page's JSON has it, with its weights unpacked. */
  function unpack(model) {
    const values = numbers(model.weights, model.precision);
    const tensor = ({ shape, offset }) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return { shape, values: values.subarray(offset, offset + size) };
    };
    const layers = model.layers.map((layer) => {
      const unpacked = { ...layer };
      for (const name of ["weight", "bias", "running_mean", "running_var"]) {
        if (layer[name]) unpacked[name] = tensor(layer[name]);
      }
      return unpacked;
    });
    return { ...model, layers };
  }

  /** Base64 as bytes. */
  function bytes(text) {
    const characters = atob(text);
    const values = new Uint8Array(characters.length);
    for (let k = 0; k < values.length; k++) values[k] = characters.charCodeAt(k);
    return values;
  }

  /** Base64 as numbers of a precision. */
  const numbers = (text, precision) => decoders[precision](bytes(text));

  /** Bytes in the order of every machine that runs browsers, little-endian, as numbers. */
  const decoders = {
    float32: ({ buffer }) => new Float32Array(buffer),
    float16: ({ buffer }) => Float32Array.from(new Float16Array(buffer)),
  };

  return { batchNormLine, bytes, conv2d, crop, normalise, numbers, outputSize, pad, run, silence, softmax, stack, unpack, vote };
})();
