"use strict";

/** Unpack what is embedded and bring the sections to life. */
const page = (() => {
  function start() {
    const { models: packed, digits } = JSON.parse(document.getElementById("embedded").textContent);
    const models = packed.map(network.unpack);
    for (const image of digits.images) image.pixels = network.bytes(image.pixels);

    for (const app of document.querySelectorAll(".needs-script")) app.hidden = false;
    let drawn = null; // the two sections know of each other
    const hand = byHand.attach(document.getElementById("by-hand-app"), {
      models,
      digits,
      drawing: () => drawn?.pixels() ?? null,
    });
    sandbox.attach(document.getElementById("sandbox-app"), digits);
    for (const root of document.querySelectorAll(".fields")) fields.attach(root, digits.images[0].pixels);
    drawn = draw.attach(document.getElementById("draw-app"), {
      models,
      digits,
      changed: () => hand.refresh(),
      takeApart: hand.show,
    });
    return { models, digits };
  }

  return { start };
})();

// For the curious, in the browser's console, and for the tests.
const { painted } = markup;
window.cnnpipe = { ...page.start(), arithmetic, colours, convolution, digit, ink, network, painted, state };
