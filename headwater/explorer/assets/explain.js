// One prediction, and what it flows from: by one method, or by two side by side.
import { choice, el, segments } from "headwater/dom";
import { evidence } from "headwater/evidence";
import { link } from "headwater/link";
import { overlap, sampleList } from "headwater/list";
import { short, signed } from "headwater/numbers";
import { picker } from "headwater/picker";
import { choose, chosen, listen } from "headwater/state";

const COUNTS = ["5", "10", "25", "50", "100"];

/** Fill the tab. */
export function explainTab(data, panel) {
  const [subject, controls, columns] = [el("div", { class: "subject sheet" }), el("div", { class: "row" }), el("div", { class: "columns" })];
  const main = el("div", { class: "main" }, subject, controls, columns);
  panel.classList.add("explain");
  panel.append(picker(data), main);
  listen((changed) => {
    if (changed.some((name) => ["method", "versus", "mode", "count", "test"].includes(name))) draw();
  });

  function draw() {
    if (chosen().test === "") return;
    const test = Number(chosen().test);
    const methods = shownMethods(data);
    const focus = document.activeElement?.getAttribute?.("data-focus");
    controls.replaceChildren(...chooser(data));
    const about = describe(data, methods[0], test);
    subject.replaceChildren(...about.children);
    const lists = methods.map((method) => column(data, method, test));
    columns.classList.toggle("two", methods.length === 2);
    columns.replaceChildren(...lists.map((list) => list.element));
    if (methods.length === 2) columns.prepend(common(lists));
    lists.forEach((list) => link(data, about.shown, subject, list));
    if (focus) document.querySelector(`[data-focus="${focus}"]`)?.focus();
  }
}

function shownMethods(data) {
  const first = data.methods[Number(chosen().method)] ?? data.methods[0];
  const second = chosen().versus === "" ? null : data.methods[Number(chosen().versus)];
  return second && second !== first ? [first, second] : [first];
}

function chooser(data) {
  const names = data.methods.map((method, place) => [String(place), method.name]);
  const others = [["", "nothing"], ...names.filter(([place]) => place !== chosen().method)];
  const most = data.methods[0].rows.shape[2];
  const counts = COUNTS.filter((count) => Number(count) <= Math.max(most, 5)).map((count) => [count, count]);
  const kept = keepFocus([
    choice("Method", names, chosen().method, (value) => choose({ method: value })),
    choice("Compare with", others, chosen().versus, (value) => choose({ versus: value })),
    choice("Samples", counts, chosen().count, (value) => choose({ count: value })),
  ]);
  const modes = segments("Which samples", [["diverse", "Diverse"], ["top", "Strongest"]], chosen().mode, (mode) => choose({ mode }));
  [...modes.children].forEach((button, place) => button.setAttribute("data-focus", `mode${place}`));
  return [...kept, modes];
}

function keepFocus(fields) {
  fields.forEach((field, place) => field.querySelector("select").setAttribute("data-focus", `field${place}`));
  return fields;
}

/** The test sample: picture, label, prediction, which classes support it. */
function describe(data, method, test) {
  const [split, id] = [data.test, data.test.ids[test]];
  const name = `test sample ${id}${data.label(split, test) ? `, label ${data.label(split, test)}` : ""}`;
  const shown = split.kind.show(test, "large", name);
  const facts = el("div", { class: "facts" }, el("h2", { text: `Test sample #${id}` }));
  if (split.labels) facts.append(el("p", {}, el("span", { text: "Label " }), el("b", { text: data.label(split, test) })));
  if (split.predictions) {
    const wrong = data.isWrong(split, test);
    facts.append(el("p", {}, el("span", { text: "Prediction " }), el("b", { text: data.prediction(split, test) }),
      wrong === null ? null : el("span", { class: wrong ? "wrong" : "right", text: wrong ? " ✗ wrong" : " ✓ right" })));
  }
  if (split.losses) facts.append(el("p", { class: "number", text: `Loss ${short(split.losses[test])}` }));
  const children = [shown, facts];
  if (method.groups) children.push(support(data, method, test));
  return { shown, children };
}

function support(data, method, test) {
  const label = data.label(data.test, test);
  const what = `${label ? `its label ${label}` : "it"}`;
  const sums = data.support(method, test);
  const largest = Math.max(...sums.map(Math.abs)) || 1;
  const order = sums.map((_, place) => place).sort((a, b) => sums[b] - sums[a]);
  const shown = order.length > 10 ? [...order.slice(0, 5), ...order.slice(-5)] : order;
  const bars = shown.map((place) => el(
    "li", {},
    el("span", { class: "name", text: data.className(place) }),
    el("span", { class: "bar", "aria-hidden": "true" }, el("span", {
      class: sums[place] > 0 ? "fill helps" : "fill harms", style: { width: `${(100 * Math.abs(sums[place])) / largest}%` },
    })),
    el("span", { class: "number", text: signed(sums[place] * (method.helpful === "lower" ? -1 : 1)) }),
  ));
  return el("div", { class: "support" },
    el("h3", { text: `Training classes for and against ${what}` }),
    el("p", { class: "soft", text: `sum of scores, ${method.name}: blue helps, orange harms` }), el("ul", {}, ...bars));
}

function column(data, method, test) {
  const { mode, count } = chosen();
  const sides = [0, 1].map((side) => data.list(method, test, side, mode, Number(count)));
  const lists = sides.map((entries, side) => sampleList(data, method, test, side, entries));
  const element = el("section", { class: "column", "aria-label": method.name }, el("h2", { text: method.name }), evidence(method, sides.flat()), ...lists);
  return { method, sides, element };
}

function common(lists) {
  const texts = ["proponents", "opponents"].map((name, side) => {
    const shared = overlap(lists[0].sides[side], lists[1].sides[side]);
    return `${shared} of ${Math.min(lists[0].sides[side].length, lists[1].sides[side].length)} ${name}`;
  });
  return el("p", { class: "shared soft", "aria-live": "polite", text: `Both methods show the same ${texts.join(" and ")}.` });
}
