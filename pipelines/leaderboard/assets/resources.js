// What methods, stores and stages took: time, memory, disk.
import { el } from "headwater/dom";
import { nameOf, size, time } from "headwater/parts";
import { table } from "headwater/table";

const seconds = { title: "seconds", number: true, value: (row) => row.seconds, cell: (row) => time(row.seconds) };
const disk = { title: "disk", number: true, value: (row) => row.disk, cell: (row) => size(row.disk) };

/** Fill the view of costs and of the cache. */
export function resourcesTab(data, setting, panel) {
  const methods = setting.methods.filter((method) => !method.infeasible);
  panel.append(
    el("h2", { class: "intro", text: "Methods" }),
    el("p", { class: "soft intro", text: "Gradients: the method's share of its store. Memory: the most that one of its stages takes above its libraries." }),
    table(`What methods took on ${setting.name}`, [
      { title: "method", value: (m) => m.name, cell: (m) => nameOf(data, setting, m) },
      { title: "store", value: (m) => m.store, cell: (m) => m.store },
      { title: "gradients", number: true, value: (m) => m.gradient_seconds, cell: (m) => time(m.gradient_seconds) },
      { title: "after them", number: true, value: (m) => m.method_seconds, cell: (m) => time(m.method_seconds) },
      { ...seconds, title: "together" },
      { title: "memory (MB)", number: true, value: (m) => m.peak_memory_mb, cell: (m) => m.peak_memory_mb },
    ], methods, 4),
    el("h2", { class: "intro", text: "Stores of gradients" }),
    el("p", { class: "soft intro", text: "All checkpoints and samples of a store, made once and shared by its methods. Seconds: the last runs of its stages, on the machine that ran them." }),
    table(`Stores on ${setting.name}`, [
      { title: "store", value: (s) => s.name, cell: (s) => s.name },
      { title: "function", value: (s) => s.function, cell: (s) => s.function },
      { title: "form", value: (s) => s.form, cell: (s) => s.form },
      seconds, disk,
      { title: "methods", number: true, value: (s) => s.methods.length, cell: (s) => el("span", { title: s.methods.join(", "), text: s.methods.length }) },
    ], setting.stores, 4),
    el("h2", { class: "intro", text: "Stages" }),
    el("p", { class: "soft intro", text: "What the cache keeps of this setting." }),
    table(`Stages on ${setting.name}`, [
      { title: "stage", value: (s) => s.name, cell: (s) => s.name },
      { title: "runs", number: true, value: (s) => s.runs, cell: (s) => s.runs },
      seconds, disk,
    ], setting.stages, 2),
  );
}
