// The frame of the page: title, tabs, and what each shows.
import { el } from "headwater/dom";
import { load } from "headwater/data";
import { explainTab } from "headwater/explain";
import { groupsTab } from "headwater/groups";
import { helpButton } from "headwater/help";
import { choose, chosen, listen } from "headwater/state";
import { suspectsTab } from "headwater/suspects";
import { themeButton } from "headwater/theme";

const data = await load();
const tabs = [
  { key: "explain", text: "Explain a prediction", make: explainTab, there: true },
  { key: "suspects", text: "Suspicious labels", make: suspectsTab, there: Boolean(data.suspects) },
  { key: "groups", text: "Groups", make: groupsTab, there: Boolean(data.methods[0].groups && data.test.labels) },
].filter((tab) => tab.there);

const page = document.getElementById("page");
page.append(header(), ...tabs.map(panel));
page.removeAttribute("aria-busy");
listen((changed) => {
  if (changed.includes("tab")) showTab();
});

function header() {
  return el(
    "header", { class: "top" },
    el("h1", { text: data.title || "Influence explorer" }),
    el("div", { role: "tablist", "aria-label": "Views", on: { keydown: moveTab } }, ...tabs.map(tabButton)),
    el("div", { class: "row end" }, helpButton(data), themeButton()),
  );
}

function tabButton(tab) {
  return el("button", {
    type: "button", role: "tab", id: `tab-${tab.key}`, "aria-controls": `panel-${tab.key}`, text: tab.text,
    on: { click: () => choose({ tab: tab.key }) },
  });
}

function panel(tab) {
  return el("section", { role: "tabpanel", id: `panel-${tab.key}`, "aria-labelledby": `tab-${tab.key}`, hidden: true });
}

function showTab() {
  const current = tabs.find((tab) => tab.key === chosen().tab) ?? tabs[0];
  for (const tab of tabs) {
    const [button, shown] = [document.getElementById(`tab-${tab.key}`), document.getElementById(`panel-${tab.key}`)];
    const on = tab === current;
    button.setAttribute("aria-selected", String(on));
    button.tabIndex = on ? 0 : -1;
    shown.hidden = !on;
    if (on && !shown.childElementCount) tab.make(data, shown);
  }
}

function moveTab(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const here = tabs.findIndex((tab) => tab.key === chosen().tab);
  const next = tabs[(Math.max(here, 0) + step + tabs.length) % tabs.length];
  choose({ tab: next.key });
  document.getElementById(`tab-${next.key}`).focus();
}
