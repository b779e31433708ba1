// Texts linked both ways by scores of tokens: a token of the test text points at training samples, a
// training sample at tokens of the test text.
import { el } from "headwater/dom";
import { tint } from "headwater/kind_text";
import { signed } from "headwater/numbers";

/** Link the test text and the cards of one column; nothing where there are no scores of tokens. */
export function link(data, testText, subject, { method, sides, element }) {
  if (!method.tokens || !data.test.kind.hasTokens) return;
  const cards = pairs(data, method, sides, element);
  const status = el("p", { class: "soft linked", role: "status" });
  const hint = "Point at a token of the test text, or move with ← →: what matters for it stands out. Point at a training text: its tokens, and those it matters for, are tinted.";
  (subject.querySelector(".facts") ?? subject).append(status);
  rest();

  if (method.tokens.test) {
    testText.tabIndex = 0;
    let cursor = -1;
    testText.addEventListener("pointerover", (event) => point(event.target.dataset.token));
    testText.addEventListener("pointerleave", rest);
    testText.addEventListener("blur", rest);
    testText.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      cursor = Math.min(Math.max(cursor + step, 0), testText.children.length - 1);
      point(cursor);
    });
  }
  for (const card of cards) {
    card.element.tabIndex = 0;
    for (const event of ["pointerenter", "focus"]) card.element.addEventListener(event, () => showPair(card));
    for (const event of ["pointerleave", "blur"]) card.element.addEventListener(event, rest);
    card.element.addEventListener("pointerover", (event) => {
      const token = event.target.dataset.token;
      if (token !== undefined && card.train) status.textContent = say(event.target.textContent, card.train[token]);
    });
  }

  /** All training samples together. */
  function rest() {
    tint(testText, cards.some((card) => card.test) ? total(cards) : null);
    for (const card of cards) {
      card.element.style.opacity = "";
      tint(card.element, card.train);
    }
    mark(-1);
    status.textContent = hint;
  }

  /** One token of the test text: the training samples that matter for it. */
  function point(token) {
    if (token === undefined) return;
    const scores = cards.map((card) => card.test?.[token] ?? 0);
    const largest = Math.max(1e-30, ...scores.map(Math.abs));
    cards.forEach((card, i) => (card.element.style.opacity = 0.25 + (0.75 * Math.abs(scores[i])) / largest));
    mark(Number(token));
    const best = cards[scores.findIndex((score) => Math.abs(score) === largest)];
    const named = best ? `; most by training sample #${best.id}` : "";
    status.textContent = say(testText.children[token].textContent, scores.reduce((a, b) => a + b, 0)) + named;
  }

  /** One training sample: the tokens of the test text that it matters for. */
  function showPair(card) {
    tint(testText, card.test);
    status.textContent = `Tinted: the tokens that training sample #${card.id} matters for`;
  }

  function mark(token) {
    [...testText.children].forEach((span, place) => span.classList.toggle("cursor", place === token));
  }

  function say(text, score) {
    const value = (score ?? 0) * (method.helpful === "lower" ? -1 : 1);
    return `“${text.trim() || "␠"}”: ${method.function} ${signed(value)}`;
  }
}

function pairs(data, method, sides, element) {
  const entries = sides.flat();
  return [...element.querySelectorAll(".card")]
    .map((card, place) => ({ element: card, entry: entries[place] }))
    .filter(({ entry }) => entry.pair !== null)
    .map(({ element: card, entry }) => ({
      element: card,
      id: data.train.ids[entry.place],
      test: data.tokenScores(method, entry.pair, "test"),
      train: data.tokenScores(method, entry.pair, "train"),
    }));
}

function total(cards) {
  const sum = new Float32Array(Math.max(...cards.map((card) => card.test?.length ?? 0)));
  for (const { test } of cards) test?.forEach((score, place) => (sum[place] += score));
  return sum;
}
