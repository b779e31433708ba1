// What is chosen, kept in the address of the page: a link shows the same.

const DEFAULTS = {
  tab: "explain", method: "0", versus: "", test: "", order: "worst", query: "", label: "", wrong: "",
  mode: "diverse", count: "10", suspect: "0", suspectLabel: "", normal: "",
};

let state = { ...DEFAULTS, ...fromAddress() };
const listeners = [];

function fromAddress() {
  const found = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return Object.fromEntries(Object.entries(found).filter(([key]) => key in DEFAULTS));
}

/** Return what is chosen, texts by name. */
export function chosen() {
  return state;
}

/** Choose something else, and tell all who listen what changed. */
export function choose(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== String(changes[key]));
  if (!changed.length) return;
  state = { ...state };
  for (const key of changed) state[key] = String(changes[key]);
  const kept = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  tell(changed);
}

/** Listen: called with the names of what changed, and once at the start with all. */
export function listen(listener) {
  listeners.push(listener);
  listener(Object.keys(DEFAULTS));
}

function tell(changed) {
  for (const listener of listeners) listener(changed);
}

addEventListener("hashchange", () => {
  const next = { ...DEFAULTS, ...fromAddress() };
  const changed = Object.keys(DEFAULTS).filter((key) => next[key] !== state[key]);
  state = next;
  tell(changed);
});
