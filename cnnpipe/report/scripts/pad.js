/** The sheet that is drawn on: mouse, touch, pen and keyboard, with undo. */
const pad = (() => {
  const STEP = 1 / 56; // of the sheet's side, for one press of an arrow key
  const LEAP = 1 / 14; // with Shift

  /**
   * Make a canvas a drawing pad.
   *
   * `penWidth()` is the width of the next stroke, in units of the side; `began()` is called before a stroke
   * does, `changed()` whenever the ink does, `finished()` when a stroke or another action has ended, `announce(text)` with what a
   * keyboard's user must know.
   */
  function attach(canvas, overlay, { penWidth, began, changed, finished, announce }) {
    let sheet = ink.sheet();
    /** @type {{image: Uint8Array | null, strokes: Stroke[]}} */
    let shown = { image: null, strokes: [] }; // a ready image of 0 to 255, and the strokes on it; never changed
    let past = []; // what was shown before, for undo
    let stroke = null; // the one that is being drawn
    let pointer = null; // the id of the one that draws; a resting palm does not
    const pen = { x: 0.5, y: 0.5, down: false, shown: false };
    let marks = (_context) => {};
    overlay.width = overlay.height = ink.SIDE;

    const paint = markup.everyFrame(() => {
      colours.paint(canvas, sheet, ink.SIDE, colours.inkScale(0, 1));
      paintOverlay();
    });

    function paintOverlay() {
      const context = overlay.getContext("2d");
      context.clearRect(0, 0, ink.SIDE, ink.SIDE);
      marks(context);
      if (pen.shown) paintPen(context, pen, penWidth());
    }

    function begin(point) {
      began();
      stroke = { points: [], width: penWidth() };
      extend(point);
    }

    function extend(point) {
      const next = ink.snap(point);
      const last = stroke.points.at(-1) ?? next;
      stroke.points.push(next);
      Object.assign(pen, { x: point.x, y: point.y });
      ink.segment(sheet, last, next, stroke.width);
      paint();
      changed();
    }

    function end() {
      past.push(shown);
      shown = { ...shown, strokes: [...shown.strokes, stroke] };
      stroke = null;
      finished();
    }

    function redraw() {
      sheet = shown.image ? ink.enlarge(shown.image) : ink.sheet();
      for (const drawn of shown.strokes) ink.draw(sheet, drawn);
      paint();
      changed();
    }

    function undo() {
      lift();
      if (!past.length) return;
      shown = past.pop();
      redraw();
      finished();
    }

    /**
     * Show an image, strokes on it, both or none; undo brings back what was there.
     *
     * @param {{image?: Uint8Array | null, strokes?: Stroke[]}} [content]
     */
    function show({ image = null, strokes = [] } = {}) {
      lift();
      if (shown.image || shown.strokes.length) past.push(shown);
      shown = { image, strokes };
      redraw();
      finished();
    }

    const reset = () => show();

    /** Show a stroke that is nobody's: it is not undone, and goes with `forget`. */
    function preview(each) {
      sheet = ink.sheet();
      ink.draw(sheet, each);
      paint();
      changed();
    }

    function forget() {
      past = [];
      shown = { image: null, strokes: [] };
      redraw();
    }

    function lift() {
      pen.down = false;
      stroke = null;
      pointer = null;
    }

    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      event.preventDefault(); // no text selection; focus is given by hand
      canvas.focus({ focusVisible: false, preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      if (stroke) end();
      pen.down = false;
      pen.shown = false;
      pointer = event.pointerId;
      begin(pointOf(canvas, event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      // A browser reports several movements at once: together they are the smooth stroke.
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) extend(pointOf(canvas, each));
    });
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, (event) => {
        if (event.pointerId !== pointer) return;
        pointer = null;
        end();
      });
    }

    canvas.addEventListener("keydown", (event) => {
      if (event.altKey || event.metaKey) return;
      if (event.ctrlKey && event.key !== "z") return;
      const action = markup.ARROWS[event.key] ? () => moveKey(event) : keys[event.key];
      if (!action) return;
      event.preventDefault();
      pen.shown = true;
      action();
      paint();
    });

    const keys = {
      " ": () => (pen.down ? penUp() : penDown()),
      Escape: () => pen.down && penUp(),
      Backspace: () => announceAfter(undo, "Last stroke taken back."),
      z: () => announceAfter(undo, "Last stroke taken back."),
      Delete: () => announceAfter(reset, "Sheet cleared."),
    };

    function announceAfter(action, text) {
      action();
      announce(text);
    }

    function penDown() {
      pen.down = true;
      begin({ x: pen.x, y: pen.y, pressure: 1 });
      announce("Pen down.");
    }

    function penUp() {
      pen.down = false;
      end();
      announce("Pen up.");
    }

    function moveKey(event) {
      const [right, down] = markup.ARROWS[event.key];
      const step = event.shiftKey ? LEAP : STEP;
      pen.x = Math.min(1, Math.max(0, pen.x + right * step));
      pen.y = Math.min(1, Math.max(0, pen.y + down * step));
      if (pen.down) extend({ x: pen.x, y: pen.y, pressure: 1 });
    }

    canvas.addEventListener("focus", () => {
      pen.shown = canvas.matches(":focus-visible");
      paint();
    });
    canvas.addEventListener("blur", () => {
      if (pen.down) penUp();
      pen.shown = false;
      paint();
    });
    paint();

    return {
      ink: () => sheet,
      /** {image, strokes}: the ready image on the sheet, or null, and what was drawn on it. */
      shown: () => shown,
      /** What to draw over the sheet: called with the overlay's context. */
      mark: (draw) => {
        marks = draw;
        paint();
      },
      forget,
      preview,
      reset,
      show,
      undo,
    };
  }

  /** Where a pointer is on the sheet. Only pens know their pressure. */
  function pointOf(canvas, event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: (event.clientX - box.left) / box.width,
      y: (event.clientY - box.top) / box.height,
      pressure: event.pointerType === "pen" ? event.pressure : 1,
    };
  }

  function paintPen(context, { x, y, down }, width) {
    const [left, top] = [x * ink.SIDE, y * ink.SIDE];
    for (const [colour, thickness] of [["#ffffff", 5], ["#1f6fb5", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.beginPath();
      context.arc(left, top, (width * ink.SIDE) / 2 + 3, 0, 2 * Math.PI);
      for (const [dx, dy] of Object.values(markup.ARROWS)) {
        const reach = (width * ink.SIDE) / 2 + 3;
        context.moveTo(left + dx * reach, top + dy * reach);
        context.lineTo(left + dx * (reach + 8), top + dy * (reach + 8));
      }
      context.stroke();
    }
    context.fillStyle = "#1f6fb5";
    if (down) {
      context.beginPath();
      context.arc(left, top, 4, 0, 2 * Math.PI);
      context.fill();
    }
  }

  return { attach };
})();
