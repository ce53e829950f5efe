/* What the board says: its lines of the catalogue, settings and ends in words. */

import { WORDS, sentence } from "./catalogue.js";
import { number } from "./numbers.js";

/** @import { Language } from "./catalogue.js" */

/** A line of the board. @param {Language} language @param {string} key without `board.` @param {Record<string, any>} [facts] */
export const say = (language, key, facts) => sentence(language, `board.${key}`, facts);

/** Whether the catalogue has a line of the board. @param {Language} language @param {string} key */
const has = (language, key) => ["", ".other"].some((ending) => Object.hasOwn(WORDS[language], `board.${key}${ending}`));

/** A value as it is shown. @param {Language} language @param {string} value */
const valued = (language, value) => (value !== "" && Number.isFinite(Number(value)) ? number(language, Number(value), value.includes(".") ? 1 : 0) : value);

/** One setting in words: "8 slots". @param {Language} language @param {string} name @param {string} value */
export function setting(language, name, value) {
  return has(language, `set_${name}`) ? say(language, `set_${name}`, { v: valued(language, value), n: Number(value) }) : `${name} ${value}`;
}

/** A change as it was recorded, in words: "slots 8 → 4", or the setting alone where it had no value before. @param {Language} language @param {{words: string, before: string}} change */
export function changeInWords(language, { words, before }) {
  const [name, ...rest] = words.split(" = ");
  const value = rest.join(" = ");
  if (before === "") return setting(language, name, value);
  return say(language, "changed", { what: has(language, `name_${name}`) ? say(language, `name_${name}`) : name, before: valued(language, before), after: valued(language, value) });
}

/** Why a request ended, as a line of the board. @param {string} why "" if it has not */
export const endWords = (why) => `why_${["end", "stop", "length", "cancelled"].includes(why) ? why : ""}`;
