// All settings: the LDS of each method in each of them.
import { el } from "headwater/dom";
import { ceilings, estimateCell, legend, nameOf } from "headwater/parts";
import { choose } from "headwater/state";
import { table } from "headwater/table";

/** Fill the view of all settings. */
export function overviewTab(data, panel) {
  const rows = new Map();
  for (const setting of data.settings) {
    for (const method of setting.methods) {
      if (!rows.has(method.name)) rows.set(method.name, { name: method.name, method, setting, found: {} });
      rows.get(method.name).found[setting.name] = method;
    }
  }
  const columns = [
    { title: "method", value: (row) => row.name, cell: (row) => nameOf(data, row.setting, row.method) },
    { title: "of ceiling", number: true, note: "mean share of the noise ceiling that the LDS reaches; methods with results on more settings come first",
      value: (row) => rank(shares(data, row)), cell: (row) => shareCell(shares(data, row)) },
    ...data.settings.map(column),
  ];
  panel.append(
    el("p", { class: "intro", text: "LDS of every method on every setting, with its interval, on a bar that ends at 1: the green mark is the noise ceiling, what perfect scores would reach. Choose a name for what the method is; a title sorts." }),
    el("ul", { class: "settings" }, ...data.settings.map(about)),
    legend(data, [...rows.values()].map((row) => row.method)),
    table("LDS of all methods on all settings", columns, [...rows.values()], 1),
  );
}

/** Return which shares of its ceilings the LDS of a method reaches, on the settings that have it. */
function shares(data, { found }) {
  return data.settings
    .filter(({ name }) => found[name]?.lds)
    .map(({ name, ceilings: limits }) => found[name].lds.value / limits[found[name].function].value);
}

function mean(values) {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** Order by how many settings there are, then by the mean: one easy setting is no victory over all. */
function rank(values) {
  return values.length ? 10 * values.length + mean(values) : null;
}

function shareCell(values) {
  if (!values.length) return null;
  const many = values.length === 1 ? "1 setting" : `${values.length} settings`;
  return el("span", {}, `${Math.round(100 * mean(values))} %`, el("span", { class: "soft", text: ` on ${many}` }));
}

function column(setting) {
  const best = Math.max(...setting.methods.filter((method) => method.lds).map((method) => method.lds.value));
  return {
    title: setting.name, number: true,
    value: (row) => row.found[setting.name]?.lds?.value ?? null,
    cell: (row) => {
      const found = row.found[setting.name];
      if (found?.infeasible) return el("span", { class: "soft", title: found.infeasible, text: "infeasible" });
      return found?.lds ? estimateCell(found.lds, { most: 1, ceiling: setting.ceilings[found.function], best: found.lds.value === best }) : null;
    },
  };
}

function about(setting) {
  return el("li", {},
    el("button", { type: "button", class: "link", text: setting.name, on: { click: () => choose({ tab: "setting", setting: setting.name }) } }),
    el("span", { class: "soft", text: ` ${setting.methods.length} methods; noise ceiling: ${ceilings(setting)}` }));
}
