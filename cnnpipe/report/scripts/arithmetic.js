"use strict";

/** Small grids of numbers on their colours: patch × kernel = products. */
const arithmetic = (() => {
  /** Two decimals, with a true minus sign and no negative zero. */
  function fixed(value) {
    const text = value.toFixed(2);
    return text === "-0.00" ? "0.00" : text.replace("-", "−");
  }

  /** Write a window's numbers into a table's body, `width` in a row, each on its colour. */
  function fill(table, values, width, scale, strong = -1) {
    const body = table.tBodies[0];
    const rows = values.length / width;
    if (body.rows.length !== rows || body.rows[0].cells.length !== width) {
      body.replaceChildren(
        ...Array.from({ length: rows }, () =>
          markup.make("tr", {}, ...Array.from({ length: width }, () => markup.make("td"))),
        ),
      );
    }
    values.forEach((value, k) => {
      const cell = body.rows[Math.floor(k / width)].cells[k % width];
      const colour = scale.colour(value);
      cell.textContent = fixed(value);
      cell.title = String(value);
      cell.style.background = colours.css(colour);
      cell.style.color = colours.textOn(colour);
      cell.classList.toggle("strong", k === strong);
    });
  }

  return { fill, fixed };
})();
