// What a method is worth here: LDS beside its ceiling, stable ranks, removal.
import { curve } from "headwater/curve";
import { el } from "headwater/dom";
import { estimate } from "headwater/numbers";

/** Make the panel; entries are what is shown of the method. */
export function evidence(method, entries) {
  const found = method.evidence;
  const known = entries.some((entry) => entry.stability !== null);
  if (!found.lds && !known && !found.removal.length) return "";
  const panel = el("div", { class: "evidence sheet" });
  panel.append(found.lds ? meter(found) : el("p", { class: "soft", text: "LDS: not measured for these scores." }));
  panel.append(stability(method, entries));
  if (found.removal.length) panel.append(curve(found.removal, found.random, method.name));
  return panel;
}

function meter(found) {
  const { lds, ceiling } = found;
  const text = `LDS ${estimate(lds)}${ceiling ? ` of a ceiling of ${estimate(ceiling)}` : ""}`;
  const bar = el("div", { class: "meter", role: "img", "aria-label": text });
  if (ceiling) bar.append(band("ceiling", ceiling));
  bar.append(el("span", { class: "value", style: { width: share(lds.value) } }), band("interval", lds));
  const models = found.models ? ` · ${found.models} ${found.models === 1 ? "model" : "models"}` : "";
  return el("div", {}, el("p", { class: "number", text: text + models }), bar);
}

function band(name, { value, low, high }) {
  const [from, to] = low === null ? [value - 0.003, value + 0.003] : [low, high];
  return el("span", { class: name, style: { left: share(from), width: share(to - from) } });
}

function share(value) {
  return `${100 * Math.min(1, Math.max(0, value))}%`;
}

function stability(method, entries) {
  const known = entries.filter((entry) => entry.stability !== null);
  if (!known.length) return "";
  const mean = known.reduce((sum, entry) => sum + entry.stability, 0) / known.length;
  return el("p", { class: "number", text: `Rank stability: ${Math.round(mean)} % of ${method.stability_models} models rank the samples shown about as high.` });
}
