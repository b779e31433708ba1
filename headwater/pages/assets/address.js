// What is chosen, kept in the address of the page: a link shows the same.

/** Keep choices, texts by name, from their defaults on. */
export function keep(defaults) {
  let state = { ...defaults, ...fromAddress() };
  const listeners = [];

  function fromAddress() {
    const found = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    return Object.fromEntries(Object.entries(found).filter(([key]) => key in defaults));
  }

  /** Return what is chosen, texts by name. */
  function chosen() {
    return state;
  }

  /** Choose something else, and tell all who listen what changed. */
  function choose(changes) {
    const changed = Object.keys(changes).filter((key) => state[key] !== String(changes[key]));
    if (!changed.length) return;
    state = { ...state };
    for (const key of changed) state[key] = String(changes[key]);
    const kept = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
    history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
    tell(changed);
  }

  /** Listen: called with the names of what changed, and once at the start with all. */
  function listen(listener) {
    listeners.push(listener);
    listener(Object.keys(defaults));
  }

  function tell(changed) {
    for (const listener of listeners) listener(changed);
  }

  addEventListener("hashchange", () => {
    const next = { ...defaults, ...fromAddress() };
    const changed = Object.keys(defaults).filter((key) => next[key] !== state[key]);
    state = next;
    tell(changed);
  });
  return { chosen, choose, listen };
}
