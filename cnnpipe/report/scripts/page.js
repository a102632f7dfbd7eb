"use strict";

/** Unpack what is embedded and bring the sections to life. */
const page = (() => {
  function start() {
    const { models: packed, digits } = JSON.parse(document.getElementById("embedded").textContent);
    const models = packed.map(network.unpack);
    for (const image of digits.images) image.pixels = network.bytes(image.pixels);

    for (const app of document.querySelectorAll(".needs-script")) app.hidden = false;
    sandbox.attach(document.getElementById("sandbox-app"), digits);
    present.attach(document.getElementById("present"));
    for (const root of document.querySelectorAll(".fields")) fields.attach(root, digits.images[0].pixels);
    draw.attach(document.getElementById("draw-app"), { models, digits });
    return { models, digits };
  }

  return { start };
})();

// For the curious, in the browser's console, and for the tests.
const { painted } = markup;
window.cnnpipe = { ...page.start(), arithmetic, backward, byHand, colours, convolution, digit, ink, network, painted, picture, state };
