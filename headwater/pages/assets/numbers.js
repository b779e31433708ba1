// Numbers as people read them.

const MINUS = "\u2212";

/** Three digits. */
export function short(value) {
  const size = Math.abs(value);
  let text;
  if (value === 0) text = "0";
  else if (size >= 1e5 || size < 1e-4) text = size.toExponential(1);
  else text = String(Number(size.toPrecision(3)));
  return value < 0 ? MINUS + text : text;
}

/** The same with a sign. */
export function signed(value) {
  return value > 0 ? `+${short(value)}` : short(value);
}

/** Value and interval of an estimate. */
export function estimate(found) {
  const value = found.value.toFixed(3);
  return found.low === null ? value : `${value} [${found.low.toFixed(3)}, ${found.high.toFixed(3)}]`;
}

/** A share in percent. */
export function percent(share) {
  return `${Number((100 * share).toPrecision(3))} %`;
}
