"use strict";

/** The section that is drawn in: the pad, what the networks see of it, their answers and their maps. */
const draw = (() => {
  /**
   * Bring the section to life.
   *
   * `changed()` is called when a drawing has changed and rests; `takeApart(choice)` when the reader chose a
   * pixel of a map. Returns `pixels()`, what the networks see, or null.
   */
  function attach(root, { models, digits, changed, takeApart }) {
    const part = markup.parts(root);
    const cards = models.map((model, k) => markup.parts(part[`answer${k}`]));
    const layers = models.map((_, k) => [...part[`maps${k}`].querySelectorAll("[data-layer]")]);
    let [seen, preset, results] = [null, null, []];

    const update = markup.everyFrame(() => {
      look();
      results = models.map((model) => (seen ? network.run(model, seen.pixels) : null));
      results.forEach((result, k) => {
        paintAnswer(cards[k], result, digits.classes);
        paintMaps(k);
      });
    });

    /** What the networks see, and how it came about. */
    function look() {
      const ready = board.image();
      const preprocess = part.preprocess.checked;
      seen = ready ? { pixels: ready } : digit.prepare(board.ink(), ink.SIDE, preprocess);
      paintSeen(part.seen, seen, !ready && preprocess);
      part.invitation.hidden = seen !== null;
      part.seenFacts.textContent = facts(ready, preprocess);
      board.mark((context) => !ready && seen && preprocess && markPreprocessing(context, seen));
    }

    function facts(ready, preprocess) {
      if (!seen) return "Nothing is drawn, so there is nothing to say.";
      if (ready) return `${preset.text}. It is ${digits.side}×${digits.side} pixels already.`;
      if (!preprocess) return `The whole sheet, made ${digit.SIDE}×${digit.SIDE}.`;
      const { bounds, centre, frame } = seen;
      const [width, height] = [bounds.right - bounds.left, bounds.bottom - bounds.top];
      const box = [width, height].map((length) => colours.short(Number((length / frame.pixel).toFixed(1))));
      const off = [centre.x - (bounds.left + bounds.right) / 2, centre.y - (bounds.top + bounds.bottom) / 2];
      const moved = off.map((length) => colours.short(Number((-length / frame.pixel).toFixed(1))));
      return (
        `Cropped to ${width}×${height} of ${ink.SIDE}×${ink.SIDE}, scaled to ${box.join("×")}, ` +
        `and moved by ${moved.join(" and ")} pixels so that the centre of mass is in the middle.`
      );
    }

    /** Sums and normalisations are shown where every step is asked for, else what comes out in the end. */
    function chooseLayers() {
      for (const block of layers.flat()) block.hidden = block.dataset.depth === "step" && !part.everyStep.checked;
      update();
    }

    function paintMaps(k) {
      const host = part[`maps${k}`];
      host.classList.toggle("empty", !results[k]);
      if (!results[k] || !part[`chapter${k}`].open) return;
      const room = host.clientWidth;
      for (const block of layers[k]) {
        if (block.hidden) continue;
        const { maps, canvas, name } = layerOf(k, block);
        const scale = colours.scaleOf(maps.values);
        featureMaps.paint(canvas, maps, scale, room);
        canvas.setAttribute("aria-label", featureMaps.describe(name, maps, scale));
        block.querySelector(".range").textContent = `${colours.short(scale.low)} to ${colours.short(scale.high)}`;
        block.querySelector(".bar").classList.toggle("signed", scale.low < 0);
      }
    }

    function layerOf(k, block) {
      const index = Number(block.dataset.layer);
      const canvas = block.querySelector("canvas");
      return { index, maps: results[k].outputs[index], canvas, name: models[k].layers[index].name };
    }

    /** What is under the pointer; a press takes it apart in the other section. */
    function watchMaps(k, block) {
      const canvas = block.querySelector("canvas");
      const value = block.querySelector(".value");
      const pointed = (event) => {
        if (!results[k]) return null;
        const { maps, index } = layerOf(k, block);
        const pixel = featureMaps.pixelAt(canvas, event, maps, part[`maps${k}`].clientWidth);
        return pixel && { ...pixel, index, value: convolution.pixel(maps, pixel.channel, pixel) };
      };
      canvas.addEventListener("pointermove", (event) => {
        const at = pointed(event);
        value.textContent = at
          ? `map ${at.channel}, row ${at.y}, column ${at.x}: ${arithmetic.fixed(at.value)}`
          : "";
      });
      canvas.addEventListener("pointerleave", () => (value.textContent = ""));
      canvas.addEventListener("click", (event) => {
        const at = pointed(event);
        if (!at || !block.dataset.takesApart) return;
        const image = board.image() ? preset.index : null;
        takeApart({ image, model: k, layer: at.index, channel: at.channel, y: at.y, x: at.x });
      });
    }

    function rest() {
      part.answers.textContent = spoken(results, models, digits.classes, seen);
      changed();
    }

    // A stroke that ended is answered with the next frame; speak after it.
    const finished = () => {
      update();
      markup.nextFrame(() => markup.nextFrame(rest));
    };

    const board = pad.attach(part.pad, part.overlay, {
      penWidth: () => Number(root.querySelector("input[name=pen]:checked").value),
      changed: () => {
        markPreset();
        update();
      },
      finished,
      announce: (text) => (part.status.textContent = text),
    });

    function markPreset() {
      for (const button of part.presets.querySelectorAll("button")) {
        const shown = board.image() !== null && button.value === String(preset.index);
        button.setAttribute("aria-pressed", String(shown));
      }
    }

    for (const group of digits.groups) {
      const buttons = group.indices.map((index) => {
        const image = digits.images.find((each) => each.index === index);
        const chosen = { index, text: captionOf(image, models, digits) };
        return presetButton(image, chosen, () => {
          preset = chosen;
          board.reset(image.pixels);
        });
      });
      part.presets.append(
        markup.make("h4", { textContent: group.title }),
        markup.make("div", { className: "thumbnails" }, ...buttons),
      );
    }

    part.clear.addEventListener("click", () => board.reset());
    part.undo.addEventListener("click", () => board.undo());
    part.preprocess.addEventListener("change", finished);
    part.everyStep.addEventListener("change", chooseLayers);
    models.forEach((_, k) => {
      part[`chapter${k}`].addEventListener("toggle", update);
      for (const block of layers[k]) watchMaps(k, block);
    });
    window.addEventListener("resize", update);
    chooseLayers();
    compare(models, digits, part.agreement);
    return { pixels: () => (board.image() ? null : (seen?.pixels ?? null)) };
  }

  function captionOf({ index, label, answers }, models, { classes, copies }) {
    const given = models
      .filter(({ name }) => answers[name])
      .map(({ name, title }) => {
        const { prediction, confidence } = answers[name];
        const averaged = copies[name] > 1 ? ` (averaged over ${copies[name]} shifted copies)` : "";
        return `${title}: ${classes[prediction]}, ${colours.percent(confidence)}${averaged}`;
      });
    const byPyTorch = given.length ? `; PyTorch's answers: ${given.join("; ")}` : "";
    return `Test image ${index}, labelled ${classes[label]}${byPyTorch}`;
  }

  function presetButton({ index, pixels }, { text }, action) {
    const canvas = markup.make("canvas");
    colours.paint(canvas, pixels, digit.SIDE, colours.inkScale(0, 255));
    const button = markup.make("button", { type: "button", value: String(index), title: text, ariaLabel: text }, canvas);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", action);
    return button;
  }

  /** The network's input, large, with the scaled crop and the centre of mass outlined. */
  function paintSeen(canvas, seen, boxed) {
    const maps = network.stack(1, digit.SIDE, digit.SIDE);
    if (seen) maps.values.set(seen.pixels);
    const marks = seen && boxed ? [boxOf(seen), { y: digit.SIDE / 2 - 0.5, x: digit.SIDE / 2 - 0.5 }] : [];
    plane.paint(canvas, maps, 0, colours.inkScale(0, 255), { marks });
  }

  /** Where the crop lies among the network's pixels. */
  function boxOf({ bounds, frame }) {
    return {
      y: (bounds.top - frame.top) / frame.pixel,
      x: (bounds.left - frame.left) / frame.pixel,
      height: (bounds.bottom - bounds.top) / frame.pixel,
      width: (bounds.right - bounds.left) / frame.pixel,
    };
  }

  /** On the sheet: the crop, dashed, and a cross at the centre of mass. */
  function markPreprocessing(context, { bounds, centre }) {
    context.strokeStyle = "#c2540a";
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    const { left, top, right, bottom } = bounds;
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    context.beginPath();
    for (const [dx, dy] of [[7, 0], [0, 7]]) {
      context.moveTo(centre.x - dx, centre.y - dy);
      context.lineTo(centre.x + dx, centre.y + dy);
    }
    for (const [colour, thickness] of [["#ffffff", 4], ["#c2540a", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.stroke();
    }
  }

  function paintAnswer(card, result, classes) {
    card.class.textContent = result ? classes[result.prediction] : "–";
    card.confidence.textContent = result ? colours.percent(result.probabilities[result.prediction]) : "no drawing, no answer";
    card.time.textContent = result ? duration(result.milliseconds) : "";
    [...card.bars.tBodies[0].rows].forEach((row, k) => {
      const probability = result ? result.probabilities[k] : 0;
      row.classList.toggle("first", Boolean(result) && k === result.prediction);
      row.querySelector(".fill").style.width = `${100 * probability}%`;
      row.querySelector(".number").textContent = result ? colours.percent(probability) : "–";
    });
  }

  /** In whole milliseconds: not every browser's clock counts finer. */
  function duration(milliseconds) {
    return milliseconds < 1 ? "< 1 ms" : `${Math.round(milliseconds)} ms`;
  }

  function spoken(results, models, classes, seen) {
    if (!seen) return "The sheet is empty: no prediction.";
    return results
      .map(({ prediction, probabilities }, k) => {
        const confidence = colours.percent(probabilities[prediction]);
        return `${models[k].title}: ${classes[prediction]}, ${confidence}.`;
      })
      .join(" ");
  }

  /**
   * Hold this page's forward pass against PyTorch's: the probabilities of the predicted class and of the
   * label, which the evaluation wrote down. One image at a time, so that the page stays quick. Where the
   * evaluation averaged over shifted copies, there is nothing that one pass could be held against.
   */
  function compare(models, digits, note) {
    if (models.some(({ name }) => digits.copies[name] > 1)) {
      note.textContent =
        "This page answers for the one image that it is given. PyTorch's answers to test images were averaged over " +
        "shifted copies of each, so they may differ, and are not compared.";
      return;
    }
    const largest = models.map(() => 0);
    const images = digits.images.filter(({ answers }) => models.every(({ name }) => answers[name]));
    const next = (k) => {
      if (k === images.length) return report();
      const { pixels, label, answers } = images[k];
      models.forEach((model, m) => {
        const { probabilities } = network.run(model, pixels);
        const { prediction, confidence, probability_of_label: ofLabel } = answers[model.name];
        const differences = [probabilities[prediction] - confidence, probabilities[label] - ofLabel];
        largest[m] = Math.max(largest[m], ...differences.map(Math.abs));
      });
      return setTimeout(next, 0, k + 1);
    };
    const report = () => {
      if (!images.length) return;
      const each = models.map(({ title, precision }, m) => `${title} (${precision} weights) ${colours.short(largest[m])}`);
      note.textContent =
        `Measured in this browser just now, on the ${images.length} test images offered here: the largest ` +
        `difference between this page's probabilities and PyTorch's is ${each.join(", ")}.`;
    };
    next(0);
  }

  return { attach };
})();
