// Training samples whose label may be wrong: those that lower their own loss most.
import { choice, el } from "headwater/dom";
import { percent, short } from "headwater/numbers";
import { choose, chosen, listen } from "headwater/state";

const SHOWN = 100;

/** Fill the tab. */
export function suspectsTab(data, panel) {
  const { methods, total, wrong } = data.suspects;
  const [controls, summary, list] = [el("div", { class: "row" }), el("p", { "aria-live": "polite" }), el("ol", { class: `cards ${data.kind}` })];
  panel.append(
    el("div", { class: "sheet stack" },
      el("h2", { text: "Suspicious labels" }),
      el("p", { class: "soft", text: `Of ${total} training samples, those with the largest self-influence: how much a sample lowers its own loss. A high place says look, not that the label is wrong.` }),
      controls, summary),
    list,
  );
  listen((changed) => {
    if (changed.some((name) => ["suspect", "suspectLabel"].includes(name))) draw();
  });

  function draw() {
    const focus = [...controls.querySelectorAll("select")].indexOf(document.activeElement);
    controls.replaceChildren(...fields(data, methods));
    if (focus >= 0) controls.querySelectorAll("select")[focus].focus();
    const method = methods[Number(chosen().suspect)] ?? methods[0];
    const label = chosen().suspectLabel;
    const ranks = method.places.map((_, rank) => rank)
      .filter((rank) => label === "" || method.labels[rank] === Number(label)).slice(0, SHOWN);
    summary.textContent = say(method, ranks, wrong);
    let found = 0;
    list.replaceChildren(...ranks.map((rank, seen) => {
      found += method.flipped?.[rank] ? 1 : 0;
      return suspect(data, method, rank, method.flipped ? found / (seen + 1) : null);
    }));
  }
}

function fields(data, methods) {
  const made = [choice("Method", methods.map((method, place) => [String(place), method.name]), chosen().suspect, (value) => choose({ suspect: value }))];
  if (methods[0].labels) {
    const classes = [["", "all"], ...data.classes.map((name, place) => [String(place), name])];
    made.push(choice("Label", classes, chosen().suspectLabel, (value) => choose({ suspectLabel: value })));
  }
  return made;
}

function say(method, ranks, wrong) {
  if (!method.flipped) return `The first ${ranks.length}. Which labels are wrong is not known here.`;
  const found = ranks.filter((rank) => method.flipped[rank]).length;
  const share = ranks.length ? percent(found / ranks.length) : "none";
  return `${found} of the first ${ranks.length} have a wrong label (${share}); ${wrong} are wrong in all.`;
}

function suspect(data, method, rank, precision) {
  const place = method.places[rank];
  const label = method.labels ? data.className(method.labels[rank]) : "";
  const flipped = method.flipped?.[rank];
  const predicted = method.predictions ? data.className(method.predictions[rank]) : null;
  return el(
    "li", { class: flipped ? "card flipped" : "card" },
    data.train.kind.show(place, "card", `training sample ${data.train.ids[place]}, label ${label}`),
    el("div", { class: "meta" },
      el("span", { class: "soft number", text: `${rank + 1}.` }),
      label ? el("span", { class: "chip", text: label }) : null,
      el("span", { class: "number", text: short(method.values[rank]), title: "self-influence" }),
    ),
    predicted === null ? null : el("span", { class: "soft", text: `predicted ${predicted}` }),
    flipped ? el("span", { class: "wrong", text: `wrong label${data.train.labels ? `, was ${data.label(data.train, place)}` : ""}` }) : null,
    precision === null ? null : el("span", { class: "soft number", text: `precision so far ${percent(precision)}` }),
  );
}
