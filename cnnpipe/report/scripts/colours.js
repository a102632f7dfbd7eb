/** The colours of the page's figures, and the scales that turn numbers into them. */
const colours = (() => {
  const LEVELS = 64; // from zero to a scale's end
  const BLUES = ["#ffffff", "#cfe1f3", "#97c1e6", "#559bd3", "#1f6fb5", "#0d4a86", "#082850"];
  const ORANGES = ["#ffffff", "#fbdcc4", "#f5b384", "#e58442", "#c2540a", "#8c3a05", "#532003"];
  const GREYS = ["#ffffff", "#1c2430"];
  const GAP = [230, 233, 237]; // between maps
  const MUTED = [91, 101, 114]; // the outline of a silent map

  const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));

  /** LEVELS colours that pass evenly through the ones given. */
  function ramp(anchors) {
    const stops = anchors.map(rgb);
    return Array.from({ length: LEVELS }, (_, level) => {
      const place = (level / (LEVELS - 1)) * (stops.length - 1);
      const before = Math.min(Math.floor(place), stops.length - 2);
      return stops[before].map((part, k) =>
        Math.round(part + (place - before) * (stops[before + 1][k] - part)),
      );
    });
  }

  const PALETTE = [BLUES, ORANGES, GREYS].flatMap(ramp);
  const [ABOVE, BELOW, GREY] = [0, LEVELS, 2 * LEVELS]; // where each ramp begins

  /** The palette as the four bytes of a canvas's pixel, whatever the machine's byte order. */
  const packed = new Uint32Array(Uint8Array.from(PALETTE.flatMap((colour) => [...colour, 255])).buffer);

  const level = (part) => Math.min(LEVELS - 1, Math.floor(part * LEVELS));

  /** Between `low` and `high`; `entry` gives a value's place in the palette, and `colour` its colour. */
  const scale = (low, high, entry) => ({ low, high, entry, colour: (value) => PALETTE[entry(value)] });

  /** A scale from zero on, or symmetric about zero where values are signed. */
  function scaleOf(values, signed = false) {
    let [lowest, highest] = [0, 0];
    for (const value of values) {
      if (value < lowest) lowest = value;
      else if (value > highest) highest = value;
    }
    const limit = Math.max(-lowest, highest) || 1;
    const entry = (value) => (value < 0 ? BELOW : ABOVE) + level(Math.abs(value) / limit);
    return scale(signed || lowest < 0 ? -limit : 0, limit, entry);
  }

  /** Of images: black is ink. `paper` and `full` are the values of no ink and of all of it. */
  function inkScale(paper, full) {
    return scale(paper, full, (value) => GREY + level(Math.min(1, Math.max(0, (value - paper) / (full - paper)))));
  }

  /** Paint numbers into a canvas, a pixel each. */
  function paint(canvas, values, width, { entry }) {
    markup.resize(canvas, width, values.length / width);
    const image = new ImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(image.data.buffer);
    let [value, pixel] = [NaN, 0]; // the ones before: many neighbours are equal
    for (let k = 0; k < pixels.length; k++) {
      if (values[k] !== value) {
        value = values[k];
        pixel = packed[entry(value)];
      }
      pixels[k] = pixel;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** @param {number[]} colour */
  const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

  /** Black or white, whichever reads better on a colour: the contrast is at least 4.5 : 1. */
  function textOn(colour) {
    const linear = colour.map((part) => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return luminance > 0.179 ? "#000000" : "#ffffff";
  }

  /** A number in at most three significant digits, with a true minus sign. */
  function short(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const plain = size >= 1e-3 && size < 1e5;
    const text = plain ? String(Number(value.toPrecision(3))) : powerOfTen(value);
    return text.replace("-", "−");
  }

  /** 1.7·10⁻⁷ */
  function powerOfTen(value) {
    const [digits, exponent] = value.toExponential(1).split("e");
    const raised = exponent.replace(/[-+\d]/g, (sign) => SUPERSCRIPTS[sign]);
    return `${digits}·10${raised}`;
  }

  const SUPERSCRIPTS = { "+": "", "-": "⁻", ...[..."⁰¹²³⁴⁵⁶⁷⁸⁹"] };

  /** A fraction in percent; what is neither 0 nor 1 is not rounded to 0 % or 100 %. */
  function percent(fraction) {
    if (fraction > 0 && fraction < 0.001) return "< 0.1 %";
    if (fraction < 1 && fraction > 0.999) return "> 99.9 %";
    return `${(100 * fraction).toFixed(1)} %`;
  }

  return { GAP, MUTED, css, inkScale, paint, percent, scaleOf, short, textOn };
})();
