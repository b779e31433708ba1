// What several views show: names that open cards, families, estimates with their intervals.
import { el } from "headwater/dom";
import { openCard } from "headwater/card";

/** Make the name of a method: a swatch of its family, and a button that opens its card. */
export function nameOf(data, setting, method) {
  return el("span", { class: "name" },
    swatch(data, method.family),
    el("button", { type: "button", class: "link", "aria-haspopup": "dialog", text: method.name, on: { click: () => openCard(data, setting, method) } }));
}

/** Make a square in the colour of a family. */
export function swatch(data, name) {
  const family = data.families.find((found) => found.name === name);
  return el("span", { class: "swatch", title: name, style: { background: `light-dark(${family.light}, ${family.dark})` } });
}

/** Say which colour is which family, of those that methods are of. */
export function legend(data, methods) {
  const there = new Set(methods.map((method) => method.family));
  const items = data.families.filter(({ name }) => there.has(name)).map(({ name }) => el("li", {}, swatch(data, name), name));
  return el("ul", { class: "legend", "aria-label": "Families of methods" }, ...items);
}

/** Make an estimate: the value, its interval, and a bar from least to most with the ceiling. */
export function estimateCell(found, { most, ceiling = null, best = false }) {
  if (!found) return null;
  const percent = (value) => `${100 * Math.min(Math.max(value / most, 0), 1)}%`;
  const width = `${100 * Math.max((Math.min(found.high, most) - Math.max(found.low, 0)) / most, 0)}%`;
  return el("span", { class: "estimate" },
    el("span", { class: "number" },
      el(best ? "b" : "span", { text: fixed(found.value) }),
      el("span", { class: "soft", text: ` [${fixed(found.low)}, ${fixed(found.high)}]` })),
    el("span", { class: "meter", "aria-hidden": "true" },
      el("span", { class: "value", style: { width: percent(found.value) } }),
      el("span", { class: "interval", style: { left: percent(found.low), width } }),
      ceiling ? el("span", { class: "ceiling", style: { left: percent(ceiling.low), width: `${(100 * (ceiling.high - ceiling.low)) / most}%` } }) : null));
}

/** Three decimals, with a real minus. */
export function fixed(value) {
  return value.toFixed(3).replace("-", "\u2212");
}

/** Say what the noise ceilings of a setting are. */
export function ceilings(setting) {
  return Object.entries(setting.ceilings)
    .map(([name, found]) => `${name} ${fixed(found.value)} [${fixed(found.low)}, ${fixed(found.high)}]`)
    .join(" · ");
}

/** Seconds as people read them. */
export function time(seconds) {
  if (seconds === null || seconds === undefined) return null;
  if (seconds >= 5400) return `${(seconds / 3600).toFixed(1)} h`;
  if (seconds >= 120) return `${(seconds / 60).toFixed(1)} min`;
  return `${Number(seconds.toFixed(1))} s`;
}

/** Bytes as people read them. */
export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e3).toFixed(1)} kB`;
}
