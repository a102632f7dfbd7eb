/** The walk over a map's pixels: play and pause, steps, and a speed. */
const sweep = (() => {
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const [SLOWEST, FASTEST, USUAL] = [1, 60, 6]; // pixels a second

  /**
   * Make the buttons of a walk in an element. `size()` is the map's, `place()` the pixel that is shown
   * and `move(pixel)` shows another. For readers who asked for less motion nothing moves by itself.
   *
   * Returns `upTo()`, how many pixels are to be shown as computed, and `stop()`, for when the reader
   * chose a pixel by another way.
   */
  function attach(host, { size, place, move }) {
    const button = (textContent, step, title = "") => {
      const made = markup.make("button", { type: "button", textContent, title });
      if (title) made.setAttribute("aria-label", title);
      made.addEventListener("click", step);
      return made;
    };
    const back = button("◀", () => go(-1), "One pixel back");
    const play = button("Play", toggle);
    const next = button("▶", () => go(1), "One pixel on");
    const speed = markup.make("input", { type: "range", min: SLOWEST, max: FASTEST, value: USUAL, autocomplete: "off" });
    const told = markup.make("output");
    host.replaceChildren(back, play, next, markup.make("label", { className: "speed" }, "Speed ", speed, told));

    let [walks, running, previous] = [false, false, 0];
    const count = () => size().height * size().width;
    const number = () => place().y * size().width + place().x;

    function label() {
      play.textContent = running ? "Pause" : "Play";
      play.hidden = speed.parentElement.hidden = still.matches;
      told.textContent = `${speed.value} a second`;
    }

    function moveTo(k) {
      const { width } = size();
      const last = Math.min(count() - 1, Math.max(0, k));
      move({ y: Math.floor(last / width), x: last % width });
    }

    function go(steps) {
      running = false;
      label();
      moveTo(number() + steps);
    }

    function toggle() {
      running = !running;
      label();
      if (!running) return;
      if (!walks || number() === count() - 1) moveTo(0);
      walks = true;
      previous = performance.now();
      requestAnimationFrame(frame);
    }

    function frame(now) {
      if (!running) return;
      const pace = 1000 / Number(speed.value);
      const steps = Math.floor((now - previous) / pace);
      if (steps > 0) {
        previous += steps * pace;
        moveTo(number() + steps);
        if (number() === count() - 1) stop();
      }
      if (running) requestAnimationFrame(frame);
    }

    function stop() {
      walks = running = false;
      label();
    }

    speed.addEventListener("input", label);
    still.addEventListener("change", stop);
    label();
    return { stop, upTo: () => (walks ? number() + 1 : Infinity) };
  }

  return { attach };
})();
