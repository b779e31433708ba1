// Elements. What a user's data says is only ever set as text: nothing here parses HTML.

/** Make an element: options are attributes, but for text, class and on (event -> listener). */
export function el(tag, options = {}, ...children) {
  return dress(document.createElement(tag), options, children);
}

/** Make an element of a drawing. */
export function svg(tag, options = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), options, children);
}

function dress(element, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "style") Object.entries(value).forEach(([k, v]) => element.style.setProperty(k, v));
    else if (name === "on") Object.entries(value).forEach(([k, v]) => element.addEventListener(k, v));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make a labelled choice: options are [value, text]. */
export function choice(label, options, value, listen) {
  const select = el("select", { on: { change: () => listen(select.value) } });
  for (const [key, text] of options) select.append(el("option", { value: key, text }));
  select.value = value;
  return el("label", { class: "field" }, el("span", { text: label }), select);
}

/** Make a group of buttons of which one is pressed: options are [value, text, disabled?]. */
export function segments(label, options, value, listen) {
  const group = el("div", { class: "segments", role: "group", "aria-label": label });
  for (const [key, text, disabled] of options) {
    group.append(
      el("button", {
        type: "button", text, disabled, "aria-pressed": String(key === value),
        on: { click: () => listen(key) },
      }),
    );
  }
  return group;
}
