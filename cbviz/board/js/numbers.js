/* Numbers, shares and durations as each language writes them. */

/** @import { Language } from "./words.js" */

/** @param {Language} language */
const locale = (language) => (language === "zh" ? "zh-CN" : "en-US");

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
  return format(language, `percent ${digits}`, () => ({ style: "percent", maximumFractionDigits: digits })).format(share);
}

/** Formatters by language and kind: making one takes far longer than using it. @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();
/** @param {Language} language @param {string} name @param {() => Intl.NumberFormatOptions} options */
function format(language, name, options) {
  let made = formats.get(language + name);
  if (!made) {
    made = new Intl.NumberFormat(locale(language), options());
    formats.set(language + name, made);
  }
  return made;
}

/**
 * Seconds as a person reads them: 6.1 ms, 0.13 s, 12.4 s, 3 min 20 s.
 * @param {Language} language
 * @param {number | null} seconds
 */
export function duration(language, seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds === 0) return language === "zh" ? "0 秒" : "0 s";
  const unit = language === "zh" ? { ms: " 毫秒", s: " 秒", min: " 分 " } : { ms: " ms", s: " s", min: " min " };
  const size = Math.abs(seconds);
  if (size >= 120) return number(language, Math.floor(seconds / 60)) + unit.min + number(language, Math.floor(seconds % 60)) + unit.s;
  if (size >= 10) return number(language, seconds, 1) + unit.s;
  if (size >= 0.1) return number(language, seconds, 2) + unit.s;
  return number(language, seconds * 1000, size >= 0.01 ? 0 : 1) + unit.ms;
}
