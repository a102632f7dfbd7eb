/** Unpack what is embedded and bring the sections to life. */
const page = (() => {
  /** Sections that answer to what is drawn, by the id of their element, which may be missing. */
  const EXPLORE = { "break-app": breaking, filters: silence, "snapshots-app": snapshots, "test-map-app": testMap };

  /** For a projector: large type, figures before prose. It is part of the page's state, so a link can ask for it. */
  function offerPresentation(button) {
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

  function start() {
    const { models: packed, digits, thumbnails, robustness } = JSON.parse(document.getElementById("embedded").textContent);
    const models = packed.map(network.unpack);
    for (const image of digits.images) image.pixels = network.bytes(image.pixels);

    for (const app of document.querySelectorAll(".needs-script")) app.hidden = false;
    sandbox.attach(document.getElementById("sandbox-app"), digits);
    offerPresentation(document.getElementById("present"));
    for (const root of document.querySelectorAll(".fields")) fields.attach(root, digits.images[0].pixels);
    const sheet = document.getElementById("draw-app");
    const drawn = draw.attach(sheet, { models, digits });
    doubt.attach(sheet, models, drawn);
    for (const [id, section] of Object.entries(EXPLORE)) {
      const root = document.getElementById(id);
      if (root) section.attach(root, { models, digits, thumbnails, robustness, drawn });
    }
    return { models, digits, thumbnails };
  }

  return { start };
})();

// For the curious, in the browser's console, and for the tests.
const { painted } = markup;
window.cnnpipe = {
  ...page.start(),
  arithmetic,
  backward,
  byHand,
  colours,
  convolution,
  digit,
  distort,
  doubt,
  ink,
  network,
  painted,
  picture,
  state,
  testMap,
};
