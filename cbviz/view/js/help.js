/* The list of keys. */

import { nextLanguage, sentence } from "./catalogue.js";
import { h, wordButton } from "./dom.js";

/** @import { View } from "./view.js" */

/** Keys and what they do, as keys of `WORDS`. */
const KEYS = [
  ["Space", "k_play"], ["← →", "k_step"], ["Shift ← →", "k_page"], ["Home End", "k_ends"], ["+ − 0", "k_zoom"], [", .", "k_pan"], ["[ ]", "k_speed"],
  ["A F P S C", "k_jump"], ["↑ ↓", "k_slot"], ["PgUp PgDn", "k_lane"], ["Enter", "k_pin"], ["U", "k_units"], ["T", "k_table"], ["L", "k_lang"], ["X", "k_stop"], ["?", "k_help"], ["Esc", "k_close"],
];

/** The help, hidden. @param {View} view @param {() => void} close */
export function helpBox(view, close) {
  const list = h("dl");
  for (const [keys, words] of KEYS) list.append(h("dt", {}, ...keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, words === "k_lang" ? sentence(nextLanguage(view.language), "language.name") : view.say(words)));
  const box = h(
    "div", { class: "cb-help-box", role: "dialog", "aria-label": view.say("help"), tabindex: "-1" },
    h("h3", {}, view.say("help")), list, h("p", {}, view.say("k_wheel")), h("p", {}, view.say("lod")), wordButton(view.say("close"), close),
  );
  box.hidden = true;
  return box;
}
