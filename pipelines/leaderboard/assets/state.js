// What is chosen on the leaderboard.
import { keep } from "headwater/address";

export const { chosen, choose, listen } = keep({
  tab: "overview", setting: "", family: "", query: "", one: "",
});

/** Return the setting that is chosen, the first one by default. */
export function current(data) {
  return data.settings.find((setting) => setting.name === chosen().setting) ?? data.settings[0];
}
