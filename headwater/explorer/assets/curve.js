// The removal curve: how much worse predictions get without their top samples.
import { el, svg } from "headwater/dom";
import { percent, signed } from "headwater/numbers";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [260, 110, 44, 22];

/** Draw the curve of a method, beside that of random samples. */
export function curve(points, random, name) {
  const all = [...points, ...random];
  const right = Math.max(...all.map((point) => point.share));
  const [low, high] = [Math.min(0, ...all.map((p) => p.low ?? p.value)), Math.max(0, ...all.map((p) => p.high ?? p.value))];
  const x = (share) => LEFT + (share / right) * (WIDTH - LEFT - 6);
  const y = (value) => 6 + ((high - value) / (high - low || 1)) * (HEIGHT - BOTTOM - 6);
  const text = points.map((p) => `without ${percent(p.share)} the loss changes by ${signed(p.value)}`).join("; ");
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "img", "aria-label": `Removal curve of ${name}: ${text}` });
  drawing.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - 6, y1: y(0), y2: y(0) }));
  for (const value of [low, 0, high].filter((tick) => !tick || Math.abs(tick) > 0.15 * (high - low))) {
    drawing.append(svg("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end", text: signed(Number(value.toPrecision(2))) }));
  }
  for (const { share } of points) {
    drawing.append(svg("text", { x: x(share), y: HEIGHT - 6, "text-anchor": "end", text: percent(share) }));
  }
  for (const [line, className] of [[random, "random"], [points, "top"]]) {
    if (!line.length) continue;
    const from = [{ share: 0, value: 0, low: 0, high: 0 }, ...line];
    const edge = [...from.map((p) => [x(p.share), y(p.high ?? p.value)]), ...from.toReversed().map((p) => [x(p.share), y(p.low ?? p.value)])];
    drawing.append(svg("polygon", { class: `area ${className}`, points: edge.join(" ") }));
    drawing.append(svg("polyline", { class: `line ${className}`, points: from.map((p) => [x(p.share), y(p.value)]).join(" ") }));
  }
  return el("figure", { class: "removal" }, drawing, el("figcaption", { class: "soft", text: "Rise of the loss without the top samples; grey: without random ones" }));
}
