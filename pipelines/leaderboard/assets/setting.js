// One setting: all metrics of all methods.
import { choice, el } from "headwater/dom";
import { ceilings, estimateCell, legend, nameOf, time } from "headwater/parts";
import { choose, chosen, listen } from "headwater/state";
import { table } from "headwater/table";

/** Fill the view of one setting. */
export function settingTab(data, setting, panel) {
  const found = el("div");
  const families = [...new Set(setting.methods.map((method) => method.family))];
  const search = el("input", { type: "search", value: chosen().query, on: { input: () => choose({ query: search.value }) } });
  const one = el("input", { type: "checkbox", checked: chosen().one === "1", on: { change: () => choose({ one: one.checked ? "1" : "" }) } });
  const family = choice("Family", [["", "all"], ...families.map((name) => [name, name])], chosen().family, (name) => choose({ family: name }));
  panel.append(
    el("div", { class: "row" }, el("label", { class: "field" }, el("span", { text: "Name" }), search), family,
      el("label", { class: "check" }, one, "one model only")),
    el("p", { class: "intro", text: `Noise ceiling of LDS: ${ceilings(setting)}.` }),
    legend(data, setting.methods),
    found,
    ...setting.notes.map((text) => el("p", { class: "soft intro", text })),
  );
  listen((changed) => {
    if (!panel.contains(found) || !changed.some((key) => ["family", "query", "one"].includes(key))) return;
    const rows = setting.methods.filter(matches);
    found.replaceChildren(el("p", { class: "soft", role: "status", text: `${rows.length} of ${setting.methods.length} methods` }),
      table(`Methods on ${setting.name}`, columns(data, setting), rows, 4));
  });
}

function matches(method) {
  const { family, one, query } = chosen();
  return (!family || method.family === family) && (!one || method.checkpoints === 1) && method.name.toLowerCase().includes(query.trim().toLowerCase());
}

function columns(data, setting) {
  return [
    { title: "method", value: (m) => m.name, cell: (m) => nameOf(data, setting, m) },
    { title: "explains", value: (m) => m.function ?? null, cell: (m) => m.function },
    { title: "models", number: true, first: "ascending", value: (m) => m.checkpoints ?? null, cell: (m) => m.checkpoints },
    { title: "damping", number: true, value: (m) => (m.damping ? Number.parseFloat(m.damping) : null), cell: (m) => damping(m.damping) },
    ...setting.metrics.map((metric) => metricColumn(setting, metric)),
    { title: "seconds", number: true, first: "ascending", value: (m) => m.seconds ?? null,
      cell: (m) => (m.infeasible ? el("span", { class: "soft reason", text: `infeasible: ${m.infeasible}` }) : time(m.seconds)) },
    { title: "memory (MB)", number: true, first: "ascending", value: (m) => m.peak_memory_mb ?? null, cell: (m) => m.peak_memory_mb },
  ];
}

function metricColumn(setting, metric) {
  const values = setting.methods.filter((m) => m[metric.key]).map((m) => m[metric.key]);
  const best = (metric.low_is_good ? Math.min : Math.max)(...values.map((found) => found.value));
  const most = Math.max(1, ...values.map((found) => found.high));
  return {
    title: metric.title, number: true, first: metric.low_is_good ? "ascending" : "descending",
    value: (m) => m[metric.key]?.value ?? null,
    cell: (m) => estimateCell(m[metric.key], { most, ceiling: metric.key === "lds" ? setting.ceilings[m.function] : null, best: m[metric.key]?.value === best }),
  };
}

function damping(value) {
  if (value === null || value === undefined) return null;
  return typeof value === "number" ? String(value) : value.replace(" x mean", " × mean");
}
