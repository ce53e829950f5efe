/* Level of detail: what a column that covers several iterations shows. */

import { convert } from "./axis.js";
import { lastAtMost } from "./columns.js";
import { CLOSED, DECODE, HELD, IDLE, PREFILL, RECOMPUTE, STALLED, WASTED } from "./states.js";

/** @import { Axis } from "./axis.js" */
/** @import { Lane } from "./lane.js" */

/**
 * Column edges in iterations.
 * @param {Lane} lane @param {Axis} axis @param {number} columns
 * @param {number} step px a column
 * @param {number} [from] px at which the first column begins
 */
export function columnEdges(lane, axis, columns, step, from = 0) {
  const edges = new Float64Array(columns + 1);
  for (let c = 0; c <= columns; c++) {
    const value = axis.value(from + c * step);
    if (axis.mode === "iterations") edges[c] = value;
    else edges[c] = value < 0 ? -1 : convert(lane, value, "seconds", "iterations");
  }
  return edges;
}

/** The 4 × 4 ordered-dither thresholds, each between 0 and 1. */
const BAYER = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5].map((v) => (v + 0.5) / 16);

/** Iterations of each state in the column at hand. */
const SHARE = new Float64Array(8);
/** From top to bottom. */
const STACK = [DECODE, PREFILL, IDLE, RECOMPUTE, STALLED, HELD, WASTED, CLOSED];

/**
 * The state and the request that each of `parts` stacked pixels shows, for each column of a slot, where a column covers
 * several iterations. Pixels are divided by share of time (useful on top, then spare, waste at the bottom), so a state's
 * area on screen is its share of the time at any zoom.
 * @param {Lane} lane
 * @param {number} slot
 * @param {Float64Array} edges iteration (may be fractional) at each column's left edge, and at the right edge of the last
 * @param {number} parts
 * @param {Uint8Array} state [columns * parts], 255 where there is nothing; filled in
 * @param {Int32Array} request [columns]: the request whose useful work it is; filled in
 * @param {number} [phase] column of the first edge, counted from a fixed origin, so that panning does not flicker
 */
export function coarse(lane, slot, edges, parts, state, request, phase = 0) {
  const { first, state: states, request: requests } = lane.rows[slot];
  const columns = edges.length - 1;
  const spans = first.length;
  const n = lane.n;
  let j = spans ? Math.max(0, lastAtMost(first, edges[0])) : 0;
  for (let c = 0, at = 0; c < columns; c++, at += parts) {
    const from = edges[c] > 0 ? edges[c] : 0;
    const to = edges[c + 1] < n ? edges[c + 1] : n;
    request[c] = -1;
    if (!(to > from) || !spans) {
      for (let p = 0; p < parts; p++) state[at + p] = 255;
      continue;
    }
    while (j + 1 < spans && first[j + 1] <= from) j++;
    if (j + 1 >= spans || first[j + 1] >= to) {
      // One span fills the column: always so when zoomed in, and mostly when zoomed out.
      const only = states[j];
      for (let p = 0; p < parts; p++) state[at + p] = only;
      request[c] = requests[j];
      continue;
    }
    SHARE.fill(0);
    let most = 0;
    let last = j;
    for (let s = j; s < spans && first[s] < to; s++) {
      const end = s + 1 < spans ? first[s + 1] : n;
      const overlap = (end < to ? end : to) - (first[s] > from ? first[s] : from);
      const what = states[s];
      SHARE[what] += overlap;
      if ((what === PREFILL || what === DECODE) && overlap > most) {
        most = overlap;
        request[c] = requests[s];
      } else if (request[c] < 0) request[c] = requests[s];
      last = s;
    }
    j = last;
    // Pixel p shows the state in which the fraction (p + threshold) / parts of the column's stack lies.
    const threshold = BAYER[(slot & 3) * 4 + ((c + phase) & 3)];
    let p = 0;
    let sum = 0;
    for (let k = 0; k < 8 && p < parts; k++) {
      const what = STACK[k];
      if (SHARE[what] === 0) continue;
      sum += SHARE[what];
      const until = (sum / (to - from)) * parts - threshold;
      while (p < parts && p < until - 1e-9) state[at + p++] = what;
    }
    while (p < parts) state[at + p] = p ? state[at + p++ - 1] : states[(p++, last)];
  }
}
