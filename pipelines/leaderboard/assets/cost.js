// LDS against cost.
import { el } from "headwater/dom";
import { openCard } from "headwater/card";
import { chart } from "headwater/charts";
import { estimateCell, legend, nameOf, time } from "headwater/parts";
import { table } from "headwater/table";

/** Fill the view of costs: the chart, and those worth their cost as a table. */
export function costTab(data, setting, panel) {
  const drawing = el("div", { class: "chart" });
  const worth = setting.methods.filter((method) => method.worth);
  panel.append(
    el("p", { class: "intro", text: "Each mark is a method, ● explains the loss and ◆ the margin; the line joins those worth their cost: no cheaper one has a higher LDS. Dashed: noise ceilings. Press a mark for its card." }),
    legend(data, setting.methods),
    el("div", { class: "sheet" }, drawing),
    el("h2", { class: "intro", text: "Worth their cost" }),
    table(`Methods on ${setting.name} that are worth their cost`, [
      { title: "method", value: (m) => m.name, cell: (m) => nameOf(data, setting, m) },
      { title: "seconds", number: true, first: "ascending", value: (m) => m.seconds, cell: (m) => time(m.seconds) },
      { title: "models", number: true, first: "ascending", value: (m) => m.checkpoints, cell: (m) => m.checkpoints },
      { title: "LDS", number: true, value: (m) => m.lds.value, cell: (m) => estimateCell(m.lds, { most: 1, ceiling: setting.ceilings[m.function] }) },
    ], worth, 1, "ascending"),
  );
  const byName = new Map(setting.methods.map((method) => [method.name, method]));
  chart(data, setting.charts.cost, `LDS of the methods on ${setting.name} against their seconds`, drawing, (name) => openCard(data, setting, byName.get(name)));
}
