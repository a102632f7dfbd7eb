// Two figures below each other; a button shows both by turns at the same place, each with its run's name in its title.
(() => {
  "use strict";

  /** Milliseconds that each of the two is seen; well under three flashes a second. */
  const TURN = 700;

  for (const figure of document.querySelectorAll(".pair.same-size")) {
    const button = figure.querySelector("button");
    let timer = 0;

    button.addEventListener("click", () => {
      clearInterval(timer);
      timer = timer ? 0 : setInterval(() => figure.classList.toggle("turned"), TURN);
      figure.classList.remove("turned");
      figure.classList.toggle("alternating", timer !== 0);
      button.setAttribute("aria-pressed", String(timer !== 0));
    });
    figure.querySelector(".controls").hidden = false;
  }
})();
