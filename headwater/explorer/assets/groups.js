// Which training classes support which test classes.
import { choice, el } from "headwater/dom";
import { signed } from "headwater/numbers";
import { choose, chosen, listen } from "headwater/state";

/** Fill the tab. */
export function groupsTab(data, panel) {
  const [controls, holder] = [el("div", { class: "row" }), el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Support between classes" })];
  panel.append(el("div", { class: "sheet stack" },
    el("h2", { text: "Which classes support which" }),
    el("p", { class: "soft", text: "Each cell: the sum of scores of a training class, mean over the test samples of a class. Blue helps, orange harms." }),
    controls, holder));
  listen((changed) => {
    if (changed.some((name) => ["method", "normal"].includes(name))) draw();
  });

  function draw() {
    const focus = [...controls.querySelectorAll("select")].indexOf(document.activeElement);
    const names = data.methods.map((method, place) => [String(place), method.name]);
    controls.replaceChildren(
      choice("Method", names, chosen().method, (value) => choose({ method: value })),
      choice("Colours", [["", "over all cells"], ["row", "of each row"]], chosen().normal, (value) => choose({ normal: value })),
    );
    if (focus >= 0) controls.querySelectorAll("select")[focus].focus();
    const method = data.methods[Number(chosen().method)] ?? data.methods[0];
    holder.replaceChildren(table(data, method, chosen().normal === "row"));
  }
}

function table(data, method, byRow) {
  const { rows, present } = means(data, method);
  const largest = Math.max(...rows.flat().map(Math.abs)) || 1;
  const sign = method.helpful === "lower" ? -1 : 1;
  const head = el("tr", {}, el("th", { text: "test \\ training" }), ...data.classes.map((name) => el("th", { scope: "col", class: "number", text: name })));
  const body = present.map((place, i) => el(
    "tr", {},
    el("th", { scope: "row" }, el("button", { type: "button", class: "quiet", text: data.className(place), title: "show these test samples", on: { click: () => choose({ tab: "explain", label: place }) } })),
    ...rows[i].map((value) => {
      const strength = Math.abs(value) / (byRow ? Math.max(...rows[i].map(Math.abs)) || 1 : largest);
      const colour = value > 0 ? "var(--helps)" : "var(--harms)";
      return el("td", { class: "number", text: signed(sign * value), style: { background: `color-mix(in srgb, ${colour} ${Math.round(60 * strength)}%, transparent)` } });
    }),
  ));
  return el("table", { class: "heat" }, el("caption", { class: "unseen", text: `Support between classes by ${method.name}` }), el("thead", {}, head), el("tbody", {}, ...body));
}

function means(data, method) {
  const present = data.classes.map((_, place) => place).filter((place) => data.test.labels.includes(place));
  const rows = present.map((label) => {
    const tests = data.test.labels.flatMap((other, test) => (other === label ? [test] : []));
    const sums = tests.map((test) => data.support(method, test));
    return data.classes.map((_, place) => sums.reduce((sum, line) => sum + line[place], 0) / tests.length);
  });
  return { rows, present };
}
