"use strict";

/** The sheet that is drawn on: mouse, touch, pen and keyboard, with undo. */
const pad = (() => {
  const STEP = 1 / 56; // of the sheet's side, for one press of an arrow key
  const LEAP = 1 / 14; // with Shift

  const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

  /**
   * Make a canvas a drawing pad.
   *
   * `penWidth()` is the width of the next stroke, in units of the side; `changed()` is called whenever the
   * ink does, `finished()` when a stroke or another action has ended, `announce(text)` with what a
   * keyboard's user must know.
   */
  function attach(canvas, overlay, { penWidth, changed, finished, announce }) {
    let sheet = ink.sheet();
    let strokes = [];
    let stroke = null; // the one that is being drawn
    let image = null; // a ready image of 0 to 255 beneath the strokes
    let pointer = null; // the id of the one that draws; a resting palm does not
    const pen = { x: 0.5, y: 0.5, down: false, shown: false };
    let marks = () => {};
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
      stroke = { points: [], width: penWidth() };
      strokes.push(stroke);
      extend(point);
    }

    function extend(point) {
      const last = stroke.points.at(-1) ?? point;
      stroke.points.push(point);
      Object.assign(pen, { x: point.x, y: point.y });
      ink.segment(sheet, last, point, stroke.width);
      paint();
      changed();
    }

    function end() {
      stroke = null;
      finished();
    }

    function redraw() {
      sheet = image ? ink.enlarge(image) : ink.sheet();
      for (const drawn of strokes) ink.draw(sheet, drawn);
      paint();
      changed();
      finished();
    }

    function undo() {
      if (strokes.length) strokes.pop();
      else image = null;
      lift();
      redraw();
    }

    /** Start again, from paper or from a ready image. */
    function reset(pixels = null) {
      strokes = [];
      image = pixels;
      lift();
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
      lift();
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
      const action = ARROWS[event.key] ? () => moveKey(event) : keys[event.key];
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
      const [right, down] = ARROWS[event.key];
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
      /** The ready image that is shown, as long as nothing has been drawn on it. */
      image: () => (strokes.length ? null : image),
      /** What to draw over the sheet: called with the overlay's context. */
      mark: (draw) => {
        marks = draw;
        paint();
      },
      reset,
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
      for (const [dx, dy] of Object.values(ARROWS)) {
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
