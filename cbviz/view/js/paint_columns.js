/* A lane's rows as pixels, where a column covers several iterations. */

import { coarse, columnEdges } from "./density.js";
import { HELD, IDLE, PREFILL, RECOMPUTE, WASTED } from "./states.js";
import { PALETTE } from "./theme.js";

/** @import { Scene } from "./paint.js" */

/** Kept between frames, so that painting allocates nothing large. */
const scratch = { state: new Uint8Array(0), request: new Int32Array(0), canvas: /** @type {HTMLCanvasElement | null} */ (null) };

/** Where a state's texture puts ink, 4 rows of 12 columns for each state. */
export const INKED = inked();

function inked() {
  const table = new Uint8Array(8 * 48);
  for (let y = 0; y < 4; y++)
    for (let c = 0; c < 12; c++) {
      const at = y * 12 + c;
      table[IDLE * 48 + at] = c % 6 === 0 && y === 3 ? 1 : 0;
      table[PREFILL * 48 + at] = (c + y) % 3 === 0 ? 1 : 0;
      table[RECOMPUTE * 48 + at] = c % 3 === 0 ? 1 : 0;
      table[HELD * 48 + at] = (c + 2 * (y & 1)) % 4 === 0 ? 1 : 0;
      table[WASTED * 48 + at] = c % 3 === 0 && y % 2 === 0 ? 1 : 0;
    }
  return table;
}

/** Several iterations a column. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintColumns(ctx, { lane, axis, heights, from, to, brushes, draft, lanes }) {
  // A column is one device pixel. Coarser while the view moves: a quarter of the work, and the eye does not notice.
  const step = draft ? 2 : 1 / brushes.ratio;
  const left = Math.floor(from);
  const columns = Math.max(1, Math.ceil((Math.ceil(to) - left) / step));
  const phase = ((Math.round((axis.start * axis.scale + left) / step) % 12) + 12) % 12;
  const budget = (draft ? 80000 : 500000) / lanes;
  const parts = Math.max(1, Math.min(heights.pitch - heights.gap, 8, Math.floor(budget / (lane.slots * columns))));
  const edges = columnEdges(lane, axis, columns, step, left);
  if (scratch.state.length < columns * parts) scratch.state = new Uint8Array(columns * parts);
  if (scratch.request.length < columns) scratch.request = new Int32Array(columns);
  const { state: states, request: owners } = scratch;
  const picture = ctx.createImageData(columns, lane.slots * parts);
  const pixels = new Uint32Array(picture.data.buffer);
  const { ground, ink } = brushes.pixels();
  for (let slot = 0; slot < lane.slots; slot++) {
    coarse(lane, slot, edges, parts, states, owners, phase);
    for (let p = 0; p < parts; p++) {
      const y = slot * parts + p;
      const texture = (y & 3) * 12;
      let at = y * columns;
      for (let c = 0, column = phase; c < columns; c++, at++) {
        const state = states[c * parts + p];
        if (state !== 255) {
          const which = state * 8 + (owners[c] > 0 ? owners[c] % PALETTE.length : 0);
          pixels[at] = INKED[state * 48 + texture + column] ? ink[which] : ground[which];
        }
        if (++column === 12) column = 0;
      }
    }
  }
  const canvas = (scratch.canvas ??= document.createElement("canvas"));
  if (canvas.width < columns || canvas.height < lane.slots * parts) {
    canvas.width = Math.max(canvas.width, columns);
    canvas.height = Math.max(canvas.height, lane.slots * parts);
  }
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true })).putImageData(picture, 0, 0);
  ctx.imageSmoothingEnabled = false;
  if (heights.gap === 0) ctx.drawImage(canvas, 0, 0, columns, lane.slots * parts, left, heights.top, columns * step, heights.rows);
  else for (let slot = 0; slot < lane.slots; slot++) ctx.drawImage(canvas, 0, slot * parts, columns, parts, left, heights.top + slot * heights.pitch, columns * step, heights.pitch - heights.gap);
}
