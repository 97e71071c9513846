// What the page can do beyond being read: rows are filtered by words and sorted by columns, and a link to a cell opens its details.
// Without it the page lacks nothing but these.
"use strict";
(function () {
  const tables = Array.from(document.querySelectorAll("main table"));

  function value(row, column) {
    const words = row.cells[column].textContent.trim();
    const number = parseFloat(words.replace(/^\+/, ""));
    return { words: words, number: Number.isNaN(number) ? null : number };
  }

  function compare(a, b) {
    if (a.number !== null && b.number !== null && a.number !== b.number) return a.number - b.number;
    if ((a.number === null) !== (b.number === null)) return a.number === null ? 1 : -1;
    return a.words.localeCompare(b.words);
  }

  // Cells of one kind are compared as that kind; what is empty comes last either way.
  function sort(table, column) {
    const head = table.tHead.rows[0].cells[column], body = table.tBodies[0];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const rows = Array.from(body.rows).map(function (row) { return { row: row, value: value(row, column) }; });
    rows.sort(function (a, b) {
      const empty = (a.value.words === "") - (b.value.words === "");
      return empty || sign * compare(a.value, b.value);
    });
    rows.forEach(function (entry) { body.appendChild(entry.row); });
    Array.from(table.tHead.rows[0].cells).forEach(function (cell) { cell.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  }

  tables.forEach(function (table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", function () { sort(table, column); });
      head.replaceChildren(button);
    });
  });

  function filter(words, status) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, all = 0;
    tables.forEach(function (table) {
      Array.from(table.tBodies[0].rows).forEach(function (row) {
        const has = row.textContent.toLowerCase();
        row.hidden = !wanted.every(function (word) { return has.includes(word); });
        shown += row.hidden ? 0 : 1;
        all += 1;
      });
    });
    status.textContent = wanted.length ? shown + " of " + all + " rows" : "";
  }

  const place = document.getElementById("filter");
  if (place && tables.length) {
    const label = document.createElement("label"), input = document.createElement("input"), status = document.createElement("span");
    label.htmlFor = input.id = "words";
    label.textContent = "Rows with";
    input.type = "search";
    input.placeholder = "e.g. affine undecided";
    status.setAttribute("role", "status");
    input.addEventListener("input", function () { filter(input.value, status); });
    place.append(label, input, status);
    place.hidden = false;
  }

  function reveal() {
    const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    const details = target ? target.closest("details") : null;
    if (details) {
      details.open = true;
      target.scrollIntoView();
    }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
})();
