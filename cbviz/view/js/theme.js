/* Colours of requests and themes, and inks that contrast with them. */

import { COLOURS } from "./colours.js";

export const PALETTE = COLOURS.palette;

/** A request's colour. @param {number} request */
export const colourOf = (request) => PALETTE[((request % PALETTE.length) + PALETTE.length) % PALETTE.length];

/** Red, green and blue of a colour, 0 to 255. @param {string} colour "#rrggbb" @returns {[number, number, number]} */
export function rgb(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** @param {number[]} parts red, green and blue, 0 to 255 @returns {string} */
export const hex = (parts) => "#" + parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");

/** Relative luminance, WCAG 2.2. @param {string} colour */
export function luminance(colour) {
  const [r, g, b] = rgb(colour).map((part) => {
    const x = part / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast ratio, WCAG 2.2. @param {string} a @param {string} b */
export function contrast(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

/** `share` of b in a. @param {string} a @param {string} b @param {number} share */
export function mix(a, b, share) {
  const other = rgb(b);
  return hex(rgb(a).map((part, i) => part * (1 - share) + other[i] * share));
}

/** White where it reaches 4.5:1 on this colour, else near-black. @param {string} colour */
export const textOn = (colour) => (contrast(colour, "#ffffff") >= 4.5 ? "#ffffff" : "#15181c");

/** The mildest shade of a colour with a contrast of 3.1:1 to it: lighter if white allows it, else darker. @param {string} colour */
export function inkOn(colour) {
  const towards = contrast(colour, "#ffffff") >= 3.6 ? "#ffffff" : "#000000";
  for (let step = 0; step < 40; step++) {
    const ink = mix(colour, towards, 0.2 + 0.02 * step);
    if (contrast(ink, colour) >= 3.1) return ink;
  }
  return towards;
}

/**
 * Colours other than the requests'. `spare`, `held` and `wasted` are [ground, ink] with a contrast of at least 3:1.
 * @typedef {{ground: string, text: string, faint: string, line: string, spare: [string, string], held: [string, string], wasted: [string, string], end: string, cursor: string, veil: string, area: string, stroke: string}} Theme
 */
export const THEMES = COLOURS.themes;

/** Light ground for stalled cells: a request's colour, thinned into the page. @param {string} colour @param {Theme} theme */
export const stalledGround = (colour, theme) => mix(theme.ground, colour, 0.28);
/** The bar across stalled cells. @param {string} colour @param {Theme} theme */
export function stalledInk(colour, theme) {
  const ground = stalledGround(colour, theme);
  const towards = luminance(ground) > 0.3 ? "#000000" : "#ffffff";
  for (let step = 0; step < 25; step++) {
    const ink = mix(colour, towards, 0.04 * step);
    if (contrast(ink, ground) >= 3.1) return ink;
  }
  return towards;
}
