// The card of a method: what it is, when to use it, what it gave.
import { el } from "headwater/dom";
import { estimateCell, swatch, time } from "headwater/parts";

const FORMULA = /[[(]i, j[\])] *=/;
let dialog = null;

/** Show the card of a method on a setting. */
export function openCard(data, setting, method) {
  dialog?.remove();
  const [own, ...parts] = method.parts.map((key) => data.classes[key]);
  dialog = el("dialog", { class: "method-card", "aria-labelledby": "card-title" },
    el("form", { method: "dialog", class: "close" }, el("button", { text: "Close", autofocus: true })),
    el("h2", { id: "card-title" }, swatch(data, method.family), method.name),
    el("p", { class: "soft", text: `${method.family} · on ${setting.name}` }),
    ...about(own),
    ...parts.flatMap(about),
    el("h3", { text: "Recipe" }),
    el("pre", { text: method.recipe }),
    el("h3", { text: "Results" }),
    results(data, method.name),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function about(part) {
  const documented = part.documented.filter(([title]) => title !== "paper" || !part.papers.length);
  return [
    el("h3", { text: part.name }),
    ...part.text.flatMap(paragraphs),
    documented.length ? el("dl", {}, ...documented.flatMap(([title, text]) => [el("dt", { text: title }), el("dd", {}, ...coded(text))])) : null,
    ...part.papers.map((text) => el("p", { class: "soft", text: `Paper: ${text}` })),
  ].filter(Boolean);
}

/** A paragraph; where its first sentence has the formula of the scores, that by itself. */
function paragraphs(text) {
  const [, sentence, rest] = text.match(/^(.*?\.)(?: +(?=[A-Z])(.*))?$/s) ?? [null, text];
  if (!FORMULA.test(sentence)) return [el("p", {}, ...coded(text))];
  return [el("p", { class: "formula" }, ...coded(sentence)), rest ? el("p", {}, ...coded(rest)) : null];
}

/** Text whose parts in backticks are code. */
function coded(text) {
  return text.split("`").map((part, i) => (i % 2 ? el("code", { text: part }) : part));
}

function results(data, name) {
  const rows = data.settings.map((setting) => {
    const found = setting.methods.find((method) => method.name === name);
    if (!found) return null;
    if (found.infeasible) return el("tr", {}, el("th", { scope: "row", text: setting.name }), el("td", { colspan: 2, class: "soft", text: `infeasible: ${found.infeasible}` }));
    return el("tr", {}, el("th", { scope: "row", text: setting.name }),
      el("td", {}, found.lds ? estimateCell(found.lds, { most: 1, ceiling: setting.ceilings[found.function] }) : "–"),
      el("td", { class: "number", text: time(found.seconds) }));
  });
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...["setting", "LDS", "time"].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows.filter(Boolean))));
}
