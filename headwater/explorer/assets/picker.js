// The list of test samples: search, order, filters, keys.
import { choice, el } from "headwater/dom";
import { short } from "headwater/numbers";
import { choose, chosen, listen } from "headwater/state";

const FILTERS = ["order", "query", "label", "wrong"];

/** Make the list. */
export function picker(data) {
  const test = data.test;
  const box = el("ol", { role: "listbox", "aria-label": "Test samples", class: "tests", tabindex: 0, on: { keydown: move } });
  const count = el("p", { class: "soft", "aria-live": "polite" });
  const search = el("input", { type: "search", "aria-label": "Search test samples", placeholder: "Search: number, label, text", value: chosen().query, on: { input: () => choose({ query: search.value }) } });
  let shown = [];

  listen((changed) => {
    if (changed.some((name) => FILTERS.includes(name))) fill();
    if (changed.includes("test")) mark();
  });
  document.addEventListener("keydown", anywhere);
  return el("aside", { class: "picker sheet", "aria-label": "Choose a test sample" }, el("div", { class: "filters" }, search, ...filters(data)), count, box);

  function fill() {
    shown = ordered(data).filter((place) => matches(data, place));
    box.replaceChildren(...shown.map(option));
    count.textContent = `${shown.length} of ${test.count} test samples`;
    const kept = chosen().test !== "" && shown.includes(Number(chosen().test));
    if (shown.length && !kept) choose({ test: shown[0] });
    mark();
  }

  function option(place) {
    const wrong = data.isWrong(test, place);
    return el(
      "li", {
        role: "option", id: `test-${place}`, "aria-selected": "false",
        on: { click: () => choose({ test: place }) },
      },
      test.kind.show(place, "small", `test sample ${test.ids[place]}`),
      el("span", { class: "about" },
        el("span", { text: `#${test.ids[place]} ${data.label(test, place)}` }),
        wrong ? el("span", { class: "wrong", text: ` → ${data.prediction(test, place)}` }) : null,
        test.losses ? el("span", { class: "soft number", text: ` loss ${short(test.losses[place])}` }) : null,
      ),
    );
  }

  function mark() {
    const id = `test-${chosen().test}`;
    for (const item of box.children) item.setAttribute("aria-selected", String(item.id === id));
    const item = document.getElementById(id);
    box.setAttribute("aria-activedescendant", item ? id : "");
    if (item && box.isConnected) reveal(box, item);
  }

  function move(event) {
    const here = shown.indexOf(Number(chosen().test));
    const next = { ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose({ test: shown[Math.min(Math.max(next, 0), shown.length - 1)] });
  }

  function anywhere(event) {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || !box.offsetParent) return;
    if (event.key === "/") {
      event.preventDefault();
      search.focus();
    }
    if (event.key === "d") choose({ mode: chosen().mode === "diverse" ? "top" : "diverse" });
    const key = { j: "ArrowDown", k: "ArrowUp" }[event.key];
    if (key) move({ key, preventDefault() {} });
  }
}

function filters(data) {
  const orders = [["number", "by number"]];
  if (data.test.losses || data.test.predictions) orders.unshift(["worst", data.test.losses ? "worst mistakes first" : "mistakes first"]);
  if (data.test.labels) orders.push(["label", "by label"]);
  const order = orders.some(([key]) => key === chosen().order) ? chosen().order : orders[0][0];
  const made = [choice("Order", orders, order, (value) => choose({ order: value }))];
  if (data.test.labels) {
    const classes = [["", "all"], ...data.classes.map((name, place) => [String(place), name])];
    made.push(choice("Label", classes, chosen().label, (value) => choose({ label: value })));
  }
  if (data.test.labels && data.test.predictions) {
    const box = el("input", { type: "checkbox", checked: chosen().wrong === "1", on: { change: () => choose({ wrong: box.checked ? "1" : "" }) } });
    made.push(el("label", { class: "check" }, box, el("span", { text: "mistakes only" })));
  }
  return made;
}

function ordered(data) {
  const test = data.test;
  const places = Array.from({ length: test.count }, (_, place) => place);
  const badness = (place) => (data.isWrong(test, place) ? 1e6 : 0) + (test.losses?.[place] ?? 0);
  const orders = {
    worst: (a, b) => badness(b) - badness(a),
    label: (a, b) => (test.labels?.[a] ?? 0) - (test.labels?.[b] ?? 0),
  };
  return places.sort(orders[chosen().order] ?? ((a, b) => a - b));
}

function matches(data, place) {
  const { query, label, wrong } = chosen();
  const test = data.test;
  if (label !== "" && test.labels[place] !== Number(label)) return false;
  if (wrong && !data.isWrong(test, place)) return false;
  const words = query.toLowerCase().trim();
  if (!words) return true;
  const about = [`#${test.ids[place]}`, data.label(test, place), data.prediction(test, place), test.kind.text(place)];
  return about.join(" ").toLowerCase().includes(words);
}

/** Scroll a list, and nothing around it, so that an item is in sight. */
function reveal(box, item) {
  const [outer, inner] = [box.getBoundingClientRect(), item.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - outer.height / 3;
  if (inner.left < outer.left || inner.right > outer.right) box.scrollLeft += inner.left - outer.left - outer.width / 3;
}
