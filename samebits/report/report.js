// Sorts a table by the column whose heading is pressed: up, down, as it was.
(() => {
  "use strict";
  const number = (text) => {
    const found = text.replace(/,/g, "").match(/^\s*[<>]?\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i);
    return found ? parseFloat(found[1]) : NaN;
  };
  // The cell that covers a column, or none where the row says something else ("not run").
  const cell = (row, column) => {
    let at = 0;
    for (const one of row.cells) {
      if (at === column) return one.colSpan === 1 ? one : null;
      at += one.colSpan;
    }
    return null;
  };
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (!isNaN(x) && !isNaN(y)) return x - y;
    if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
    return a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table")) {
    const head = table.tHead, body = table.tBodies[0];
    if (!head || !body || body.rows.length < 2 || table.closest(".matrices")) continue;
    const order = [...body.rows];
    const headings = [...head.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[heading.getAttribute("aria-sort")];
        const way = next === undefined ? "ascending" : next;
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        if (way) heading.setAttribute("aria-sort", way);
        const sign = way === "descending" ? -1 : 1;
        const text = (row) => (cell(row, column) || { textContent: "" }).textContent.trim();
        const rows = way
          ? [...order].sort((a, b) => {
              const [x, y] = [text(a), text(b)];
              if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
              return sign * compare(x, y);
            })
          : order;
        table.classList.toggle("sorted", Boolean(way));
        body.append(...rows);
      });
    });
  }
})();
