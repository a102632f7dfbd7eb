/** Small line charts of measured numbers, with a mark at the reader's place. */
const curve = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const [WIDTH, HEIGHT] = [220, 56];

  function element(tag, attributes, ...children) {
    const made = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /** The value of a curve between its points, on straight lines. */
  function between(xs, ys, x) {
    const after = Math.max(1, xs.findIndex((each) => each >= x));
    const part = Math.min(1, Math.max(0, (x - xs[after - 1]) / (xs[after] - xs[after - 1])));
    return ys[after - 1] + part * (ys[after] - ys[after - 1]);
  }

  /**
   * Draw lines from 0 to 1 over rising `xs`. `lines` are lists of values, whose strokes learn.css tells apart;
   * `label` says what they are. Returns `mark(x)`, which moves the mark.
   */
  function draw(svg, xs, lines, label) {
    const across = (x) => (x / xs.at(-1)) * WIDTH;
    const down = (y) => (1 - y) * HEIGHT;
    svg.setAttribute("viewBox", `-4 -4 ${WIDTH + 8} ${HEIGHT + 8}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    const place = element("line", { class: "place", y1: -4, y2: HEIGHT + 4 });
    const frame = [0, 1].map((y) => element("line", { class: "frame", x1: 0, x2: WIDTH, y1: down(y), y2: down(y) }));
    const drawn = lines.flatMap((ys, k) => {
      const points = ys.map((y, i) => [across(xs[i]), down(y)]);
      const line = element("polyline", { class: `line line${k}`, points: points.map((point) => point.join()).join(" ") });
      // A line of no length, whose round ends stay round however the chart is stretched.
      const dots = points.length > 20 ? [] : points.map(([x, y]) => element("path", { class: `dot line${k}`, d: `M${x} ${y}h0` }));
      return [line, ...dots];
    });
    svg.replaceChildren(...frame, place, ...drawn);
    return (x) => {
      place.setAttribute("x1", across(x));
      place.setAttribute("x2", across(x));
    };
  }

  return { between, draw };
})();
