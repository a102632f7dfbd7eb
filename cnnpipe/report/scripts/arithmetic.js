/** Small grids of numbers on their colours: patch × kernel = products. */
const arithmetic = (() => {
  /** Two decimals, with a true minus sign and no negative zero. */
  function fixed(value) {
    const text = value.toFixed(2);
    return text === "-0.00" ? "0.00" : text.replace("-", "−");
  }

  /**
   * Numbers with two decimals that add up to `total`, which has two decimals, too.
   *
   * Each is rounded to the nearest; then those that were rounded farthest the wrong way are rounded the
   * other way, as few as it takes. So each is within 0.01 of its value.
   */
  function adding(values, total) {
    const cents = values.map((value) => Math.round(100 * value));
    const missing = Math.round(100 * total) - cents.reduce((a, b) => a + b, 0);
    const way = Math.sign(missing);
    const byError = values.map((value, k) => [way * (100 * value - cents[k]), k]).toSorted((a, b) => b[0] - a[0]);
    for (let n = 0; n < Math.abs(missing); n++) cents[byError[n % values.length][1]] += way;
    return cents.map((cent) => cent / 100);
  }

  /** The value to two decimals, as a number. */
  const rounded = (value) => Math.round(100 * value) / 100;

  /**
   * Write a window's numbers into a table's body, `width` in a row, each on its colour.
   *
   * `shown` are the numbers as they are to be read, where they are not simply rounded.
   */
  function fill(table, values, width, scale, { strong = -1, shown = values } = {}) {
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
      cell.textContent = fixed(shown[k]);
      cell.title = String(value);
      cell.style.background = colours.css(colour);
      cell.style.color = colours.textOn(colour);
      cell.classList.toggle("strong", k === strong);
    });
  }

  return { adding, fill, fixed, rounded };
})();
