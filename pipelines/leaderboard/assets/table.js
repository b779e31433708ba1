// Tables whose columns can be sorted, by mouse and by keys.
import { el } from "headwater/dom";

const MARKS = { ascending: " ▲", descending: " ▼", none: "" };

/**
 * Make a table. A column has { title, value(row), cell(row), first: "descending", number }: value is what it is
 * sorted by, null comes last; cell is text or an element; first is the order of the first press.
 */
export function table(caption, columns, rows, sorted, order = "descending") {
  let [by, direction] = [sorted, order];
  const body = el("tbody");
  const heads = columns.map((column, i) => {
    const button = el("button", { type: "button", class: "sort", title: column.note ?? null, on: { click: () => sort(i) } });
    return el("th", { scope: "col", class: column.number ? "number" : null }, button);
  });
  const lines = rows.map((row) => ({
    row,
    line: el("tr", { class: row.worth ? "worth" : null }, ...columns.map((column, i) => cellOf(column, row, i))),
  }));

  function cellOf(column, row, i) {
    const cell = column.cell(row);
    return el(i === 0 ? "th" : "td", { class: column.number ? "number" : null, scope: i === 0 ? "row" : null }, cell ?? "–");
  }

  function sort(i) {
    const first = columns[i].first ?? (columns[i].number ? "descending" : "ascending");
    const other = { ascending: "descending", descending: "ascending" };
    direction = i === by ? other[direction] : first;
    by = i;
    draw();
  }

  function draw() {
    const { value } = columns[by];
    const sign = direction === "ascending" ? 1 : -1;
    const ordered = lines.toSorted((a, b) => compare(value(a.row), value(b.row), sign));
    body.replaceChildren(...ordered.map(({ line }) => line));
    heads.forEach((head, i) => {
      const state = i === by ? direction : "none";
      head.setAttribute("aria-sort", state);
      head.firstChild.textContent = columns[i].title + MARKS[state];
    });
  }

  draw();
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", { class: "board" }, el("caption", { class: "unseen", text: caption }), el("thead", {}, el("tr", {}, ...heads)), body));
}

function compare(a, b, sign) {
  if (a === null || b === null || a === undefined || b === undefined) {
    return (a === null || a === undefined ? 1 : 0) - (b === null || b === undefined ? 1 : 0);
  }
  if (typeof a === "string") return sign * a.localeCompare(b, "en", { numeric: true });
  return sign * (a - b);
}
