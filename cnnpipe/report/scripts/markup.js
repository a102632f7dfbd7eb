/** The page's elements, as its scripts find and make them. */
const markup = (() => {
  /** The elements of a section by the name that their `data-part` gives them. */
  function parts(root) {
    const found = {};
    for (const element of root.querySelectorAll("[data-part]")) found[element.dataset.part] = element;
    return found;
  }

  /** An element with its properties and what stands in it. Text stays text. */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /** Setting a canvas's size clears it and costs time, so only when it changes. */
  function resize(canvas, width, height) {
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  /** The action, once nothing has asked for it for a while: a screen reader is not interrupted. */
  function rested(action, milliseconds = 300) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(action, milliseconds);
    };
  }

  /** A row of a table: its name, and numbers as text. */
  function row(name, ...values) {
    const cells = values.map((textContent) => make("td", { className: "number", textContent }));
    return make("tr", {}, make("th", { scope: "row", textContent: name }), ...cells);
  }

  /** Make the buttons of a toolbar one stop of the Tab key; the arrow keys lead from one to the next. */
  function toolbar(root) {
    const buttons = [...root.querySelectorAll("button")];
    const stop = (at) => buttons.forEach((button, k) => (button.tabIndex = k === at ? 0 : -1));
    stop(0);
    root.addEventListener("focusin", ({ target }) => stop(buttons.indexOf(target)));
    root.addEventListener("keydown", (event) => {
      const at = buttons.indexOf(event.target);
      const last = buttons.length - 1;
      const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      buttons[Math.min(last, Math.max(0, to))].focus();
    });
  }

  let pending = 0; // actions that wait for their frame

  /** Call `action` before the next picture is painted. */
  function nextFrame(action) {
    pending += 1;
    requestAnimationFrame(() => {
      pending -= 1;
      action();
    });
  }

  /** Call `action` once, before the next picture is painted, however often it is asked for. */
  function everyFrame(action) {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      nextFrame(() => {
        waiting = false;
        action();
      });
    };
  }

  /** Resolves when all that was asked for is painted. At least one frame: it reports pointer movements with frames. */
  async function painted() {
    await new Promise(requestAnimationFrame);
    if (pending > 0) await painted();
  }

  /** Where the arrow keys point: to the right, and down. */
  const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

  return { ARROWS, everyFrame, make, nextFrame, painted, parts, resize, rested, row, toolbar };
})();
