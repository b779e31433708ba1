// A list of training samples, as cards.
import { el } from "headwater/dom";
import { short, signed } from "headwater/numbers";

const SIDES = ["Proponents", "Opponents"];
const WORDS = [["lower", "higher"], ["higher", "lower"]];

/** Make a list: side 0 proponents, 1 opponents. */
export function sampleList(data, method, test, side, entries) {
  const direction = WORDS[side][method.helpful === "lower" ? 0 : 1];
  const largest = Math.max(1e-30, ...entries.map((entry) => Math.abs(entry.score)));
  const list = el("ol", { class: `cards ${data.kind}` }, ...entries.map((entry) => card(data, method, test, side, entry, largest)));
  return el(
    "section", { "aria-label": `${SIDES[side]} by ${method.name}` },
    el("h3", { class: side ? "harms" : "helps", text: SIDES[side] }),
    el("p", { class: "soft", text: `${method.function} estimated ${direction} because of each` }),
    entries.length ? list : el("p", { class: "soft", text: side ? "No sample harms." : "No sample helps." }),
  );
}

function card(data, method, test, side, entry, largest) {
  const [train, place] = [data.train, entry.place];
  const label = data.label(train, place);
  const same = data.test.labels && train.labels ? data.test.labels[test] === train.labels[place] : null;
  const name = `training sample ${train.ids[place]}${label ? `, label ${label}` : ""}, score ${signed(entry.score)}`;
  const item = el(
    "li", { class: "card", "data-place": place },
    train.kind.show(place, "card", name),
    el("div", { class: "meta" },
      el("span", { class: "score number", text: signed(entry.score), title: `rank ${entry.rank}` }),
      label ? el("span", { class: same ? "chip same" : "chip", text: label }) : null,
      el("span", { class: "soft number", text: `#${train.ids[place]}` }),
    ),
    el("span", { class: "bar", "aria-hidden": "true" }, el("span", {
      class: side ? "fill harms" : "fill helps", style: { width: `${(100 * Math.abs(entry.score)) / largest}%` },
    })),
  );
  if (entry.stability !== null) {
    item.append(el("span", { class: "soft", text: `${entry.stability} % stable`, title: "models of the ensemble that rank it about as high" }));
  }
  if (train.predictions && data.isWrong(train, place)) {
    item.append(el("span", { class: "wrong small", text: `predicted ${data.prediction(train, place)}` }));
  }
  const others = data.alikeTo(place);
  if (others.length) item.append(interchangeable(data, others));
  return item;
}

/** The button that shows which samples a sample could be exchanged for. */
function interchangeable(data, others) {
  const shown = el("div", { class: "alike", hidden: true });
  const button = el("button", {
    type: "button", class: "quiet small", "aria-expanded": "false",
    text: `≈ ${others.length} interchangeable`, on: { click: toggle },
  });
  function toggle() {
    if (!shown.childElementCount) {
      shown.append(...others.map(([place, cosine]) => el(
        "figure", {},
        data.train.kind.show(place, "small", `training sample ${data.train.ids[place]}`),
        el("figcaption", { class: "soft", text: `#${data.train.ids[place]} ${data.label(data.train, place)} ${short(cosine)}` }),
      )));
    }
    shown.hidden = !shown.hidden;
    button.setAttribute("aria-expanded", String(!shown.hidden));
  }
  return el("div", {}, button, shown);
}

/** How many samples two lists share. */
export function overlap(first, second) {
  const places = new Set(first.map((entry) => entry.place));
  return second.filter((entry) => places.has(entry.place)).length;
}
