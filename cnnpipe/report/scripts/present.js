"use strict";

/** For a projector: large type, figures before prose. It is part of the page's state, so a link can ask for it. */
const present = (() => {
  function attach(button) {
    button.hidden = false;
    button.addEventListener("click", () => state.set({ present: !state.get().present }, { push: true }));
    state.watch(show);
    show();

    function show() {
      const isOn = state.get().present;
      document.documentElement.classList.toggle("present", isOn);
      button.setAttribute("aria-pressed", String(isOn));
      window.dispatchEvent(new Event("resize")); // canvases have another size now
    }
  }

  return { attach };
})();
