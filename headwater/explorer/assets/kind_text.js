// Text: a span for each token, which scores of tokens can tint.
import { el } from "headwater/dom";
import { record } from "headwater/files";

/** Read the tokens. */
export async function load(content) {
  const { vocabulary, samples } = await record(content.file);
  const tokens = (place) => samples[place].map((token) => vocabulary[token]);
  return {
    hasSmall: false,
    hasTokens: true,
    text: (place) => tokens(place).join(""),
    /** Make the text; the small one is its beginning. */
    show(place, size, name) {
      if (size === "small") return el("span", { class: "snippet", text: tokens(place).join("").slice(0, 60) });
      const text = el("div", { class: `text text-${size}`, "aria-label": name, role: "group" });
      tokens(place).forEach((token, t) => text.append(el("span", { class: "token", text: token, "data-token": t })));
      return text;
    },
  };
}

/** Tint the tokens of a text by scores, positive ones help; null takes the tint away. */
export function tint(text, scores) {
  const largest = scores ? Math.max(1e-30, ...scores.map(Math.abs)) : 1;
  for (const span of text.querySelectorAll("[data-token]")) {
    const score = scores ? (scores[span.dataset.token] ?? 0) / largest : 0;
    const colour = score > 0 ? "var(--helps)" : "var(--harms)";
    const share = Math.round(55 * Math.abs(score));
    span.style.background = share ? `color-mix(in srgb, ${colour} ${share}%, transparent)` : "";
  }
}
