/* The help: first how to read the picture, then the keys. */

import { nextLanguage, sentence } from "./catalogue.js";
import { h, wordButton } from "./dom.js";

/** @import { View } from "./view.js" */

/** What there is to see and what it means, as keys of `WORDS`. @type {[string, string][]} */
const PICTURE = [
  ["r_row", "r_row_is"], ["r_column", "r_column_is"], ["r_colour", "r_colour_is"], ["r_grey", "r_grey_is"], ["r_end", "r_end_is"], ["r_queue", "r_queue_is"],
  ["r_words", "r_words_is"], ["r_lanes", "r_lanes_is"],
];

/** Keys and what they do, as keys of `WORDS`. */
const KEYS = [
  ["Space", "k_play"], ["← →", "k_step"], ["Shift ← →", "k_page"], ["Home End", "k_ends"], ["+ − 0", "k_zoom"], [", .", "k_pan"], ["[ ]", "k_speed"],
  ["A F P S C", "k_jump"], ["↑ ↓", "k_slot"], ["PgUp PgDn", "k_lane"], ["Enter", "k_pin"], ["U", "k_units"], ["D", "k_camera"], ["T", "k_table"], ["L", "k_lang"], ["Q", "k_queue"], ["R", "k_restart"], ["X", "k_stop"], ["?", "k_help"], ["Esc", "k_close"],
];

/** The help, hidden. @param {View} view @param {() => void} close */
export function helpBox(view, close) {
  const picture = h("dl", { class: "cb-picture" });
  for (const [what, means] of PICTURE) picture.append(h("dt", {}, view.say(what)), h("dd", {}, view.say(means)));
  const list = h("dl");
  for (const [keys, words] of KEYS) list.append(h("dt", {}, ...keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, words === "k_lang" ? sentence(nextLanguage(view.language), "language.name") : view.say(words)));
  const box = h(
    "div", { class: "cb-help-box", role: "dialog", "aria-label": view.say("help"), tabindex: "-1" },
    h("h3", {}, view.say("reading")), picture, h("p", {}, view.say("lod")),
    h("h3", {}, view.say("help_keys")), list, h("p", {}, view.say("k_wheel")), wordButton(view.say("close"), close),
  );
  box.hidden = true;
  return box;
}
