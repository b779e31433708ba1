// The frame of the page: title, the choice of a setting, tabs, and what each shows.
import { choice, el } from "headwater/dom";
import { costTab } from "headwater/cost";
import { dampingTab } from "headwater/damping";
import { record } from "headwater/files";
import { overviewTab } from "headwater/overview";
import { settingTab } from "headwater/setting";
import { choose, chosen, current, listen } from "headwater/state";
import { tabsOf } from "headwater/tabs";
import { resourcesTab } from "headwater/resources";
import { themeButton } from "headwater/theme";

const data = await record("record");
const names = data.settings.map((setting) => setting.name);
const tabs = tabsOf(
  [
    { key: "overview", text: "All settings", make: (panel) => overviewTab(data, panel) },
    { key: "setting", text: "One setting", ...ofSetting(settingTab) },
    { key: "cost", text: "LDS against cost", ...ofSetting(costTab) },
    { key: "damping", text: "Damping", ...ofSetting(dampingTab) },
    { key: "resources", text: "Cost and cache", ...ofSetting(resourcesTab) },
  ],
  { chosen, choose, listen },
);

const setting = choice("Setting", names.map((name) => [name, name]), current(data).name, (name) => choose({ setting: name }));
const page = document.getElementById("page");
page.append(
  el("header", { class: "top" }, el("h1", { text: "Headwater leaderboard" }), tabs.list, el("div", { class: "row end" }, themeButton())),
  el("div", { class: "choice" }, setting),
  ...tabs.panels,
);
page.removeAttribute("aria-busy");
tabs.start();
listen(() => {
  setting.hidden = chosen().tab === "overview";
  setting.querySelector("select").value = current(data).name;
});

/** A view of the setting that is chosen. */
function ofSetting(make) {
  return { make: (panel) => make(data, current(data), panel), follows: ["setting"] };
}
