// The frame of the page: title, tabs, and what each shows.
import { el } from "headwater/dom";
import { load } from "headwater/data";
import { explainTab } from "headwater/explain";
import { groupsTab } from "headwater/groups";
import { helpButton } from "headwater/help";
import { choose, chosen, listen } from "headwater/state";
import { suspectsTab } from "headwater/suspects";
import { tabsOf } from "headwater/tabs";
import { themeButton } from "headwater/theme";

const data = await load();
const tabs = tabsOf(
  [
    { key: "explain", text: "Explain a prediction", make: (panel) => explainTab(data, panel), there: true },
    { key: "suspects", text: "Suspicious labels", make: (panel) => suspectsTab(data, panel), there: Boolean(data.suspects) },
    { key: "groups", text: "Groups", make: (panel) => groupsTab(data, panel), there: Boolean(data.methods[0].groups && data.test.labels) },
  ].filter((tab) => tab.there),
  { chosen, choose, listen },
);

const page = document.getElementById("page");
page.append(header(), ...tabs.panels);
page.removeAttribute("aria-busy");
tabs.start();

function header() {
  return el(
    "header", { class: "top" },
    el("h1", { text: data.title || "Influence explorer" }),
    tabs.list,
    el("div", { class: "row end" }, helpButton(data), themeButton()),
  );
}
