// Light and dark: what the system says, until somebody chooses.
import { el } from "headwater/dom";

const NAMES = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };
const NEXT = { "": "light", light: "dark", dark: "" };

/** Make the button that goes through the themes. */
export function themeButton() {
  let theme = kept();
  const button = el("button", { type: "button", class: "quiet", on: { click: next } });
  function apply() {
    document.documentElement.style.colorScheme = theme || "light dark";
    document.documentElement.dataset.theme = theme || "system";
    button.textContent = NAMES[theme];
  }
  function next() {
    theme = NEXT[theme];
    try {
      localStorage.setItem("headwater-theme", theme);
    } catch {
      // A browser that keeps nothing of pages on disk forgets the choice, no more.
    }
    apply();
  }
  apply();
  return button;
}

function kept() {
  try {
    const theme = localStorage.getItem("headwater-theme");
    return theme in NEXT ? theme : "";
  } catch {
    return "";
  }
}
