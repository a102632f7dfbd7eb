"use strict";

/** The window's walk over a map, pixel by pixel, with a button that starts and pauses it. */
const sweep = (() => {
  const LONGEST = 12_000; // milliseconds for a whole map
  const SLOWEST = 400; // milliseconds for one pixel

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  /**
   * Attach a walk to a button. `size()` is the map's, `place` is the pixel that the walk moves, and
   * `paint()` shows it. For readers who asked for less motion nothing moves by itself: each press
   * goes one pixel on. Returns `stop()`, and `upTo()`: how many pixels are to be shown as computed.
   */
  function attach(button, { size, place, paint }) {
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
    return { stop, upTo: () => next || Infinity };
  }

  return { attach };
})();
