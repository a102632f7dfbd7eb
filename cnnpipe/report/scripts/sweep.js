"use strict";

/** The chosen pixel of a map, and the button that lets it walk over the whole map. */
const sweep = (() => {
  const LONGEST = 12_000; // milliseconds for a whole map
  const SLOWEST = 400; // milliseconds for one pixel

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  /**
   * Attach a walk to a button. `size()` is the map's and `paint()` shows the chosen pixel. For readers
   * who asked for less motion nothing moves by itself: each press goes one pixel on.
   *
   * Returns `place`, the chosen pixel; `upTo()`, how many pixels are to be shown as computed; and
   * `moveTo(pixel)`, `rescale(before)` and `stop()`, which end the walk.
   */
  function attach(button, { size, paint }) {
    const place = { y: 0, x: 0 };
    let [next, running, previous] = [0, false, 0];
    const count = () => size().height * size().width;

    const label = () => {
      button.textContent = still.matches ? "Next pixel" : running ? "Pause" : next ? "Go on" : "Sweep";
    };

    function advance(steps) {
      next = Math.min(next + steps, count());
      const { width } = size();
      Object.assign(place, { y: Math.floor((next - 1) / width), x: (next - 1) % width });
      if (next === count()) stop();
      paint();
    }

    function frame(now) {
      if (!running) return;
      const pace = Math.min(SLOWEST, LONGEST / count());
      const steps = Math.floor((now - previous) / pace);
      if (steps > 0) {
        previous += steps * pace;
        advance(steps);
      }
      requestAnimationFrame(frame);
    }

    function pause() {
      running = false;
      label();
    }

    /** Forget where the walk was. */
    function stop() {
      next = 0;
      pause();
    }

    function moveTo({ y, x }) {
      Object.assign(place, { y, x });
      stop();
      paint();
    }

    /** Keep the same place in the image after the map's size was `before`. */
    function rescale(before) {
      const { height, width } = size();
      moveTo({
        y: Math.floor(((place.y + 0.5) * height) / before.height),
        x: Math.floor(((place.x + 0.5) * width) / before.width),
      });
    }

    button.addEventListener("click", () => {
      if (still.matches) {
        advance(1);
      } else if (running) {
        pause();
      } else {
        running = true;
        previous = performance.now();
        requestAnimationFrame(frame);
      }
      label();
    });
    still.addEventListener("change", pause);
    label();
    return { moveTo, place, rescale, stop, upTo: () => next || Infinity };
  }

  return { attach };
})();
