/**
 * A map of the test set, as cnnpipe/explain/embedding.py makes it: what the last layer gets, seen along two
 * fixed axes, in which the image on the sheet has its place, too.
 */
const testMap = (() => {
  const PLACE = 1e-4; // places are embedded as whole numbers of it
  const NEAR = 14; // pixels: a point this close is pointed at
  const REACH = 1.45; // from the middle to the edge, where the circle of the classes is 1

  /** Points {x, y, label, answer, index, sprite} and the axes of one network. */
  function unpack({ embedding }, thumbnails) {
    const places = new Int16Array(network.bytes(embedding.places).buffer);
    const sprites = new Map(thumbnails.images.map((index, k) => [index, k]));
    const points = embedding.images.map((index, k) => {
      const sprite = sprites.get(index);
      const [x, y] = [PLACE * places[2 * k], PLACE * places[2 * k + 1]];
      return { x, y, index, sprite, label: thumbnails.labels[sprite], answer: embedding.answers[k] };
    });
    return { points, axes: new Float32Array(network.bytes(embedding.axes).buffer) };
  }

  /** A·f + b, where f has length 1; the last row of `axes` is b. */
  function placeOf(result, axes) {
    const f = doubt.direction(result);
    const place = (k) => f.reduce((sum, value, j) => sum + value * axes[2 * j + k], axes[2 * f.length + k]);
    return { x: place(0), y: place(1) };
  }

  function attach(root, { models, digits, thumbnails, drawn }) {
    const sheet = new Image();
    const redraw = [];
    sheet.addEventListener("load", () => redraw.forEach((each) => each()));
    sheet.src = thumbnails.uri;
    for (const [k, model] of models.entries()) {
      const host = root.querySelector(`[data-network="${k}"]`);
      if (host) redraw.push(attachOne(host, { model, number: k, digits, thumbnails, sheet, drawn }));
    }
  }

  function attachOne(root, { model, number, digits, thumbnails, sheet, drawn }) {
    const part = markup.parts(root);
    const { points, axes } = unpack(model, thumbnails);
    const wrong = points.filter(({ label, answer }) => label !== answer);
    const known = /** @type {any} */ (doubt.unpack(model.embedding)); // here it is embedded
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    /** @type {any} points; null where there is none */
    let [pointed, own, pixels] = [null, null, null];

    const side = () => part.map.clientWidth;
    const across = (x) => ((x / REACH + 1) / 2) * side();
    const down = (y) => ((1 - y / REACH) / 2) * side();
    const colour = (k) => `hsl(${(360 * k) / digits.classes.length} 65% ${dark.matches ? 68 : 42}%)`;

    const paint = markup.everyFrame(() => {
      if (!side()) return; // its chapter is closed
      const dense = window.devicePixelRatio || 1;
      markup.resize(part.map, Math.round(side() * dense), Math.round(side() * dense));
      const context = part.map.getContext("2d");
      const ink = getComputedStyle(root).color;
      context.setTransform(dense, 0, 0, dense, 0, 0);
      context.clearRect(0, 0, side(), side());
      const palette = digits.classes.map((_, k) => colour(k));
      for (const point of points) dot(context, point, 2.2, palette[point.label]);
      for (const point of wrong) ring(context, point, 4.5, ink, 1.5);
      nameClasses(context, palette);
      if (own) star(context, own, ink);
      if (pointed) ring(context, pointed, 8, ink, 2);
      describe();
    });

    function dot(context, { x, y }, radius, fill) {
      context.fillStyle = fill;
      context.beginPath();
      context.arc(across(x), down(y), radius, 0, 2 * Math.PI);
      context.fill();
    }

    function ring(context, { x, y }, radius, stroke, width) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.beginPath();
      context.arc(across(x), down(y), radius, 0, 2 * Math.PI);
      context.stroke();
    }

    /** Class 0 at the top, the others clockwise. */
    function nameClasses(context, palette) {
      context.font = "600 16px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      digits.classes.forEach((name, k) => {
        const angle = (2 * Math.PI * k) / digits.classes.length;
        context.fillStyle = palette[k];
        context.fillText(name, across(1.33 * Math.sin(angle)), down(1.33 * Math.cos(angle)));
      });
    }

    /** The image on the sheet: small, where it lies. */
    function star(context, { x, y }, ink) {
      const size = 34;
      const store = document.createElement("canvas");
      colours.paint(store, pixels, digit.SIDE, colours.inkScale(0, 255));
      const [left, top] = [across(x), down(y)].map((centre) => Math.min(side() - size - 1, Math.max(1, centre - size / 2)));
      context.imageSmoothingEnabled = false;
      context.drawImage(store, left, top, size, size);
      context.strokeStyle = ink;
      context.lineWidth = 2;
      context.strokeRect(left, top, size, size);
    }

    /** The point that is pointed at, large and in words. */
    function describe() {
      part.thumbnail.hidden = pointed === null;
      if (!pointed) return;
      const { index, label, answer, sprite } = pointed;
      const read = answer === label ? "read right" : `read as ${digits.classes[answer]}`;
      part.told.textContent = `Test image ${index}: ${digits.classes[label]}, ${read}.`;
      const size = thumbnails.side;
      markup.resize(part.thumbnail, size, size);
      const [row, column] = [Math.floor(sprite / thumbnails.columns), sprite % thumbnails.columns];
      part.thumbnail.getContext("2d").drawImage(sheet, column * size, row * size, size, size, 0, 0, size, size);
    }

    function pointAt(to) {
      if (to === pointed) return;
      pointed = to;
      if (!to) part.told.textContent = "";
      paint();
    }

    /** The nearest point to a place on the screen that is near enough and passes. */
    function nearest(left, top, near, passes = (_point) => true) {
      let [best, least] = [null, near ** 2];
      for (const each of points) {
        const distance = (across(each.x) - left) ** 2 + (down(each.y) - top) ** 2;
        if (distance <= least && passes(each)) [best, least] = [each, distance];
      }
      return best;
    }

    part.map.addEventListener("pointermove", (event) => pointAt(nearest(event.offsetX, event.offsetY, NEAR)));
    part.map.addEventListener("pointerdown", (event) => pointAt(nearest(event.offsetX, event.offsetY, NEAR)));
    part.map.addEventListener("pointerleave", () => pointAt(null));
    part.map.addEventListener("blur", () => pointAt(null));
    part.map.addEventListener("keydown", (event) => {
      const step = markup.ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      const from = pointed ?? own ?? { x: 0, y: 0 };
      const [left, top] = [across(from.x), down(from.y)];
      const ahead = (each) => {
        const [dx, dy] = [across(each.x) - left, down(each.y) - top];
        const along = dx * step[0] + dy * step[1];
        return each !== from && along > 0 && along >= Math.abs(dx * step[1] + dy * step[0]);
      };
      pointAt(nearest(left, top, 2 * side(), ahead) ?? pointed);
    });
    part.mistake.addEventListener("click", () => pointAt(wrong[(wrong.indexOf(pointed) + 1) % wrong.length]));
    part.mistake.disabled = wrong.length === 0;

    drawn.watch(root, (now) => {
      const result = now.results[number];
      pixels = now.pixels;
      own = result && placeOf(result, axes);
      const doubtful = result && doubt.distance(result, known) > known.usual;
      part.own.textContent = result
        ? `Your image lies ${between(own)}${doubtful ? ", and is unlike every training image" : ""}.`
        : "Nothing is drawn, so there is nothing of yours on the map.";
      paint();
    });

    /** Where a place is, in words: by a class, or in the middle. */
    function between({ x, y }) {
      const count = digits.classes.length;
      const turn = (Math.atan2(x, y) / (2 * Math.PI)) * count;
      const nearestClass = digits.classes[((Math.round(turn) % count) + count) % count];
      return Math.hypot(x, y) < 0.6 ? "in the middle, between the classes" : `towards ${nearestClass}`;
    }

    dark.addEventListener("change", paint);
    return paint;
  }

  return { attach, placeOf, unpack };
})();
