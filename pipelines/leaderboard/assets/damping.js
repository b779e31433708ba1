// LDS against the damping.
import { el } from "headwater/dom";
import { openCard } from "headwater/card";
import { chart } from "headwater/charts";
import { legend } from "headwater/parts";

const PANEL = 180; // pixels that a panel takes with its axis

/** Fill the view of dampings. */
export function dampingTab(data, setting, panel) {
  if (!setting.charts.damping) {
    panel.append(el("p", { class: "intro", text: "No method of this setting has dampings to choose from." }));
    return;
  }
  const drawing = el("div", { class: "chart" });
  panel.append(
    el("p", { class: "intro", text: "LDS on the tuning samples against the damping, in multiples of the curvature's mean eigenvalue where the recipe says so; large: the one that was chosen. The best methods come first." }),
    legend(data, setting.methods),
    el("div", { class: "sheet" }, drawing),
  );
  const columns = Math.max(1, Math.floor((drawing.clientWidth - 30) / PANEL));
  const byName = new Map(setting.methods.map((method) => [method.name, method]));
  chart(data, { ...setting.charts.damping, columns }, `LDS of the methods on ${setting.name} against the damping`, drawing, (name) => openCard(data, setting, byName.get(name)));
}
