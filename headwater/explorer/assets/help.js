// How to read the page, in a dialog.
import { el } from "headwater/dom";

const KEYS = [
  ["/", "search test samples"],
  ["↑ ↓ Home End", "move through the test samples, or j and k from anywhere"],
  ["d", "diverse or strongest samples"],
  ["← →", "move through tabs, or through the tokens of the test text"],
];

/** Make the button and its dialog. */
export function helpButton(data) {
  const method = data.methods[0];
  const better = method.helpful === "lower" ? "negative" : "positive";
  const dialog = el(
    "dialog", { "aria-labelledby": "help-title" },
    el("h2", { id: "help-title", text: "How to read this" }),
    el("p", { text: `A score estimates how the ${method.function} of a test sample changes because a training sample is in the training set, in the unit of the ${method.function}. ${capital(better)} scores help.` }),
    el("p", { text: "Proponents make the prediction better, opponents worse. Diverse lists choose strong samples that are not alike; the strongest ones are often copies of each other." }),
    el("p", { text: `Interchangeable samples have gradients, or scores, with a cosine of at least ${data.alike.threshold}: a method cannot tell them apart.` }),
    el("p", { text: "LDS says how well scores predict models that were retrained on subsets; no scores can do better than the noise ceiling. A score is an estimate, not what one sample did." }),
    el("h3", { text: "Keys" }),
    el("table", {}, ...KEYS.map(([keys, what]) => el("tr", {}, el("td", {}, el("kbd", { text: keys })), el("td", { text: what })))),
    el("form", { method: "dialog" }, el("button", { text: "Close" })),
  );
  document.body.append(dialog);
  return el("button", { type: "button", class: "quiet", text: "How to read this", on: { click: () => dialog.showModal() } });
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
