/* Numbers as Python's format writes them, so that a sentence reads the same wherever it was made. */

/** A whole number with commas. @param {number} value */
export const counted = (value) => value.toLocaleString("en-US");

/** `f"{value:.{places}f}"`: of two equally near numbers the one with an even last digit. @param {number} value at least 0 @param {number} places */
export function fixed(value, places) {
  const up = value.toFixed(places);
  const [whole, rest] = value.toFixed(60).split(".");
  if (!/^50*$/.test(rest.slice(places))) return up;
  const down = places ? `${whole}.${rest.slice(0, places)}` : whole;
  return Number(down.at(-1)) % 2 ? up : down;
}

/** A number from a single run, with two significant digits: "7.9", "14", "0.38", "1,600". @param {number} value */
export function twoDigits(value) {
  if (value <= 0) return "0";
  const places = 1 - Math.floor(Math.log10(value));
  return places >= 0 ? fixed(value, places) : counted(Number(fixed(value * 10 ** places, 0)) * 10 ** -places);
}

/** A ratio of counts, with three digits or more. @param {number} ratio */
export const ratioOf = (ratio) => (ratio < 100 ? fixed(ratio, ratio < 10 ? 2 : 1) : counted(Number(fixed(ratio, 0))));
