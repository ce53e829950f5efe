/* Numbers as `cbviz.measure.rounding` writes them, so that a sentence reads the same wherever it was made. */

/** A whole number with commas. @param {number} value */
export const counted = (value) => value.toLocaleString("en-US");

/** `cbviz.measure.rounding.fixed`, without commas: halves go up, as a reader rounds. @param {number} value at least 0 @param {number} places */
export const fixed = (value, places) => new Intl.NumberFormat("en-US", { minimumFractionDigits: places, maximumFractionDigits: places, useGrouping: false }).format(value);

/** A number from a single run, with two significant digits: "7.9", "14", "0.38", "1,600". @param {number} value */
export function twoDigits(value) {
  if (value <= 0) return "0";
  const places = 1 - Math.floor(Math.log10(value));
  return places >= 0 ? fixed(value, places) : counted(Number(fixed(value * 10 ** places, 0)) * 10 ** -places);
}

/** A ratio of counts, with three digits or more. @param {number} ratio */
export const ratioOf = (ratio) => (ratio < 100 ? fixed(ratio, ratio < 10 ? 2 : 1) : counted(Number(fixed(ratio, 0))));
