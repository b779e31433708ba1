// Views of a page, one shown at a time; the choice is kept as "tab".
import { el } from "headwater/dom";

/**
 * Make a list of tabs, { key, text, make(panel), follows }, and their panels. A panel is filled when it is first shown,
 * and anew after a change of a choice that it follows.
 */
export function tabsOf(tabs, { chosen, choose, listen }) {
  const button = (tab) => el("button", {
    type: "button", role: "tab", id: `tab-${tab.key}`, "aria-controls": `panel-${tab.key}`, text: tab.text,
    on: { click: () => choose({ tab: tab.key }) },
  });
  const buttons = tabs.map(button);
  const panels = tabs.map((tab) => el("section", {
    role: "tabpanel", id: `panel-${tab.key}`, "aria-labelledby": `tab-${tab.key}`, hidden: true,
  }));
  const list = el("div", { role: "tablist", "aria-label": "Views", on: { keydown: move } }, ...buttons);

  function current() {
    return Math.max(tabs.findIndex((tab) => tab.key === chosen().tab), 0);
  }

  function show() {
    tabs.forEach((tab, i) => {
      const on = i === current();
      buttons[i].setAttribute("aria-selected", String(on));
      buttons[i].tabIndex = on ? 0 : -1;
      panels[i].hidden = !on;
      if (on && !panels[i].childElementCount) tab.make(panels[i]);
    });
  }

  function move(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = (current() + step + tabs.length) % tabs.length;
    choose({ tab: tabs[next].key });
    buttons[next].focus();
  }

  /** Show what is chosen, now and from now on: when the panels are in the page. */
  function start() {
    listen((changed) => {
      const stale = tabs.map(({ follows = [] }) => follows.some((key) => changed.includes(key)));
      panels.forEach((panel, i) => stale[i] && panel.replaceChildren());
      if (changed.includes("tab") || stale.includes(true)) show();
    });
  }

  return { list, panels, start };
}
