// What the page knows: samples, and the lists of each method, read once.
import { array, record } from "headwater/files";
import { loadKind } from "headwater/kinds";

const ARRAYS = ["rows", "counts", "scores", "scale", "diverse", "stability", "groups"];
const NONE = 255;

/** Read everything. */
export async function load() {
  const data = await record("record");
  const read = async (owner, names) => {
    for (const name of names) if (owner[name]) owner[name] = await array(owner[name]);
  };
  for (const method of data.methods) {
    await read(method, ARRAYS);
    if (!method.tokens) continue;
    await read(method.tokens, ["pairs"]);
    for (const side of ["test", "train"]) {
      if (method.tokens[side]) await read(method.tokens[side], ["values", "scale"]);
    }
  }
  for (const split of [data.train, data.test]) {
    split.kind = await loadKind(data.kind, split.content);
    split.count = split.ids.length;
  }
  return new Data(data);
}

class Data {
  constructor(data) {
    Object.assign(this, data);
  }

  /** The name of a class, "" where there is none. */
  className(place) {
    return place === null || place === undefined ? "" : this.classes[place];
  }

  /** The label of a sample. */
  label(split, place) {
    return split.labels ? this.className(split.labels[place]) : "";
  }

  /** What the model predicts of a sample. */
  prediction(split, place) {
    return split.predictions ? this.className(split.predictions[place]) : "";
  }

  /** Whether a prediction is wrong; null where that is unknown. */
  isWrong(split, place) {
    if (!split.labels || !split.predictions) return null;
    return split.labels[place] !== split.predictions[place];
  }

  /** A list: side 0 proponents, 1 opponents; mode diverse or top. The strongest comes first. */
  list(method, test, side, mode, count) {
    const [, , k] = method.rows.shape;
    const start = (2 * test + side) * k;
    const length = method.counts.values[2 * test + side];
    let positions = Array.from({ length }, (_, position) => position);
    if (mode === "diverse") {
      const d = method.diverse.shape[2];
      const first = (2 * test + side) * d;
      positions = [...method.diverse.values.subarray(first, first + d)].filter((p) => p !== NONE);
    }
    return positions.slice(0, count).map((position) => ({
      place: method.rows.values[start + position],
      score: method.scores.values[start + position] * method.scale.values[test],
      rank: position + 1,
      stability: method.stability ? method.stability.values[start + position] : null,
      pair: this.pair(method, test, side, position),
    }));
  }

  /** Where the token scores of a pair are, null where there are none. */
  pair(method, test, side, position) {
    if (!method.tokens) return null;
    const m = method.tokens.pairs.shape[2];
    const start = (2 * test + side) * m;
    const found = method.tokens.pairs.values.subarray(start, start + m).indexOf(position);
    return found < 0 ? null : start + found;
  }

  /** Scores of the tokens of a pair, of its test or train sample; null where there are none. */
  tokenScores(method, pair, side) {
    const part = pair === null || !method.tokens ? null : method.tokens[side];
    if (!part) return null;
    const length = part.values.shape[3];
    const values = part.values.values.subarray(pair * length, (pair + 1) * length);
    return Float32Array.from(values, (value) => value * part.scale.values[pair]);
  }

  /** Samples that a training sample could be exchanged for: [place, cosine]. */
  alikeTo(place) {
    return this.alike.samples[place] ?? [];
  }

  /** How much each class helps a test sample in all. */
  support(method, test) {
    const n = method.groups.shape[1];
    return [...method.groups.values.subarray(test * n, (test + 1) * n)];
  }
}
