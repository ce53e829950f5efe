/* Where the rows of a lane lie, and which cell a point is in. */

/** @import { Axis } from "./axis.js" */
/** @import { Lane } from "./lane.js" */

/** px at the left of a lane's drawing for the numbers of its slots. */
export const GUTTER = 32;

/** px above the first row, for the batches' brackets. */
const TOP = 12;
/** px between the rows and the strip. */
const GAP = 3;
/** Of 1, 2 and more lanes: px of one row at most, of up to eight rows, and of more. */
const ROOM = [{ row: 26, few: 200, many: 420 }, { row: 24, few: 136, many: 280 }, { row: 18, few: 120, many: 200 }];
/** px by which up to eight rows are lower where knobs stand above them. */
const KNOBS = 8;
/** px that a row needs for a line of text. */
export const LINE = 13;

/**
 * Heights of a lane's drawing in px: two lanes of eight slots, with all controls, take at most 560 px of a page.
 * @param {number} slots @param {number} lanes @param {boolean} last whether the axis is below this lane @param {boolean} [knobs] whether the board has knobs
 */
export function laneHeights(slots, lanes, last, knobs = false) {
  const room = ROOM[Math.min(lanes, ROOM.length) - 1];
  const pitch = Math.max(2, Math.min(room.row, Math.floor((slots <= 8 ? room.few - (knobs ? KNOBS : 0) : room.many) / slots)));
  const gap = pitch >= 18 ? 3 : pitch >= 10 ? 2 : pitch >= 5 ? 1 : 0;
  const rows = pitch * slots;
  const [strip, axis] = [14, last ? 20 : 5];
  return { pitch, gap, rows, strip, axis, top: TOP, stripTop: TOP + rows + GAP, height: TOP + rows + GAP + strip + axis };
}

/** @typedef {ReturnType<typeof laneHeights>} Heights */

/**
 * Slot and iteration under a point of a lane's drawing; null outside the rows or beyond what is shown.
 * @param {Lane} lane @param {Axis} axis @param {Pick<Heights, "pitch" | "top">} heights @param {number} x @param {number} y
 */
export function hitTest(lane, axis, heights, x, y) {
  const slot = Math.floor((y - heights.top) / heights.pitch);
  if (slot < 0 || slot >= lane.slots) return null;
  const i = axis.iteration(lane, x);
  if (i < 0 || i >= lane.n) return null;
  if (axis.mode === "seconds" && axis.value(x) >= lane.t1.at(i) && i + 1 < lane.n && axis.value(x) < lane.t0.at(i + 1)) return null;
  return { slot, iteration: i, span: lane.spanAt(slot, i) };
}
