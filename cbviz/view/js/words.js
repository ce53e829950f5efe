/* What the board says: its lines of the catalogue, settings and ends in words. */

import { WORDS, sentence } from "./catalogue.js";
import { number } from "./numbers.js";

/** @import { Language } from "./catalogue.js" */

/** A line of the board. @param {Language} language @param {string} key without `board.` @param {Record<string, any>} [facts] */
export const say = (language, key, facts) => sentence(language, `board.${key}`, facts);

/** One setting in words: "8 slots". @param {Language} language @param {string} name @param {string} value */
export function setting(language, name, value) {
  const key = `set_${name}`;
  const shown = value !== "" && Number.isFinite(Number(value)) ? number(language, Number(value), value.includes(".") ? 1 : 0) : value;
  const known = ["", ".other"].some((ending) => Object.hasOwn(WORDS[language], `board.${key}${ending}`));
  return known ? say(language, key, { v: shown, n: Number(value) }) : `${name} ${value}`;
}

/** A change as it was recorded, "name = value", in words. @param {Language} language @param {string} change */
export function changeInWords(language, change) {
  const [name, ...rest] = change.split(" = ");
  return setting(language, name, rest.join(" = "));
}

/** Why a request ended, as a line of the board. @param {string} why "" if it has not */
export const endWords = (why) => `why_${["end", "stop", "length", "cancelled"].includes(why) ? why : ""}`;
