"use strict";

/** Figures can be enlarged to the whole window, and what scrolls sideways can be reached by keyboard. */
(() => {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.ariaLabel = "Enlarged figure; Escape closes it";
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);

  function enlarge(plate) {
    dialog.replaceChildren(plate.querySelector("img").cloneNode());
    dialog.showModal();
  }

  for (const plate of document.querySelectorAll(".plate")) {
    plate.tabIndex = 0;
    plate.role = "button";
    plate.addEventListener("click", () => enlarge(plate));
    plate.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge(plate);
    });
  }

  /** Only what is wider than its place is a stop of the Tab key. */
  const widths = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
      else target.removeAttribute("tabindex");
    }
  });
  for (const box of document.querySelectorAll("main :is(.scroll, pre)")) widths.observe(box);
})();
