// Two figures over each other: a divide that moves, or both by turns. Without this they stand below each other.
(() => {
  "use strict";

  /** Milliseconds that each of the two is seen; well under three flashes a second. */
  const TURN = 700;

  for (const figure of document.querySelectorAll(".pair.same-size")) {
    const slider = figure.querySelector("input");
    const blink = figure.querySelector("button");
    let timer = 0;

    const divideAt = (percent) => figure.style.setProperty("--divide", `${percent}%`);
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      blink.setAttribute("aria-pressed", "false");
      divideAt(slider.value);
    };
    const start = () => {
      let first = true;
      divideAt(100);
      timer = setInterval(() => {
        first = !first;
        divideAt(first ? 100 : 0);
      }, TURN);
      blink.setAttribute("aria-pressed", "true");
    };

    slider.addEventListener("input", stop);
    blink.addEventListener("click", () => (timer ? stop() : start()));
    figure.classList.add("divided");
    figure.querySelector(".controls").hidden = false;
    divideAt(slider.value);
  }
})();
