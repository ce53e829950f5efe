/* Where the rows of a lane lie, and which cell a point is in. */

/** @import { Axis } from "./axis.js" */
/** @import { Lane } from "./lane.js" */

/** px at the left of a lane's drawing for the numbers of its slots. */
export const GUTTER = 30;

/**
 * Heights of a lane's drawing in px.
 * @param {number} slots @param {number} lanes @param {boolean} narrow
 */
export function laneHeights(slots, lanes, narrow) {
  const room = (lanes === 1 ? 520 : lanes === 2 ? 420 : 260) * (narrow ? 0.8 : 1);
  const pitch = Math.max(2, Math.min(narrow ? 22 : 26, Math.floor(room / slots)));
  const gap = pitch >= 18 ? 4 : pitch >= 10 ? 2 : pitch >= 5 ? 1 : 0;
  const rows = pitch * slots;
  return { pitch, gap, rows, strip: 34, axis: 24, top: 4, height: 4 + rows + 8 + 34 + 24 };
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
