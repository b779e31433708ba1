// What is chosen in the explorer.
import { keep } from "headwater/address";

export const { chosen, choose, listen } = keep({
  tab: "explain", method: "0", versus: "", test: "", order: "worst", query: "", label: "", wrong: "",
  mode: "diverse", count: "10", suspect: "0", suspectLabel: "", normal: "",
});
