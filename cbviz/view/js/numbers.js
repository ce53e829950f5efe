/* Numbers, shares and durations as each language writes them. */

import { sentence } from "./catalogue.js";

/** @import { Language } from "./catalogue.js" */

/**
 * @param {Language} language
 * @param {number} value
 * @param {number} [digits] after the decimal point
 */
export function number(language, value, digits = 0) {
  if (!Number.isFinite(value)) return "–";
  return format(language, `decimal ${digits}`, () => ({ minimumFractionDigits: digits, maximumFractionDigits: digits })).format(value);
}

/**
 * A share as a percentage.
 * @param {Language} language
 * @param {number} share 0 to 1
 * @param {number} [digits]
 */
export function percent(language, share, digits = 0) {
  if (!Number.isFinite(share)) return "–";
  return format(language, `percent ${digits}`, () => ({ style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits })).format(share);
}

/** Formatters by language and kind: creating one takes far longer than using it. @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();
/** @param {Language} language @param {string} name @param {() => Intl.NumberFormatOptions} options */
function format(language, name, options) {
  let made = formats.get(language + name);
  if (!made) {
    made = new Intl.NumberFormat(sentence(language, "language.tag"), options());
    formats.set(language + name, made);
  }
  return made;
}

/**
 * A place on the clock of a run: 6.1 ms, 0.13 s, 12.4 s, 3 min 20 s.
 * @param {Language} language
 * @param {number | null} seconds
 */
export function duration(language, seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const size = Math.abs(seconds);
  if (size >= 120) return sentence(language, "board.time_min", { minutes: number(language, Math.floor(seconds / 60)), seconds: number(language, Math.floor(seconds % 60)) });
  const digits = size >= 10 ? 1 : 2;
  if (size >= 0.1 || size === 0) return sentence(language, "board.time_s", { n: number(language, seconds, size === 0 ? 0 : digits) });
  return sentence(language, "board.time_ms", { n: number(language, seconds * 1000, size >= 0.01 ? 0 : 1) });
}

/**
 * How long something took, as one measurement of it allows: two significant digits.
 * @param {Language} language
 * @param {number | null} seconds
 */
export function roughly(language, seconds) {
  if (seconds === null || !(seconds > 0)) return duration(language, seconds);
  const rounded = Number(seconds.toPrecision(2));
  return rounded < 0.1 ? sentence(language, "board.time_ms", { n: twoDigits(language, 1000 * seconds) }) : sentence(language, "board.time_s", { n: twoDigits(language, seconds) });
}

/** A measured number with two significant digits. @param {Language} language @param {number} value */
export function twoDigits(language, value) {
  if (!(value > 0)) return number(language, value);
  const rounded = Number(value.toPrecision(2));
  return number(language, rounded, Math.max(0, 1 - Math.floor(Math.log10(rounded))));
}
