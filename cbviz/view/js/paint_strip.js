/* Around a lane's rows: the strip of occupancy and tokens below them, and lines where a control was changed. */

import { batchesOf } from "./batches.js";
import { columnEdges } from "./density.js";
import { SET } from "./states.js";

/** @import { Scene } from "./paint.js" */

/** Under the rows: occupancy as an area and tokens per iteration as a line, averaged over each column. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintStrip(ctx, { lane, axis, heights, from: left, to: right, brushes, draft }) {
  if (lane.n === 0) return;
  const theme = brushes.theme;
  const top = heights.stripTop;
  const height = heights.strip - 1;
  const start = Math.floor(left);
  const step = draft ? 2 : 1;
  const columns = Math.max(1, Math.ceil((Math.ceil(right) - start) / step));
  const edges = columnEdges(lane, axis, columns, step, start);
  // Rectangles at whole px, with equal neighbours merged: a path with as many corners takes far longer without a GPU.
  /** @type {[number, number, number, number][]} x, width, top of the area, height of the line */
  const runs = [];
  for (let c = 0; c < columns; c++) {
    if (edges[c + 1] <= 0 || edges[c] >= lane.n) continue;
    const from = Math.max(0, Math.min(lane.n - 1, Math.floor(edges[c])));
    const to = Math.min(lane.n, Math.max(from + 1, Math.floor(edges[c + 1])));
    const share = (lane.sum.useful.at(to) - lane.sum.useful.at(from)) / (lane.sum.open.at(to) - lane.sum.open.at(from));
    const rate = (lane.sum.generated.at(to) - lane.sum.generated.at(from)) / (to - from) / lane.mostTokens;
    const area = Math.round(height * (1 - share));
    const y = Math.round(height * (1 - rate));
    const last = runs[runs.length - 1];
    if (last && last[2] === area && last[3] === y) last[1] += step;
    else runs.push([start + c * step, step, area, y]);
  }
  ctx.fillStyle = theme.area;
  // A little wider, so that no seam shows if CSS pixels are not whole device pixels; the next rectangle covers it.
  runs.forEach(([x, wide, area], k) => ctx.fillRect(x, top + area, k + 1 < runs.length ? wide + 0.6 : wide, height - area));
  ctx.fillStyle = theme.stroke;
  let before = -1;
  for (const [x, wide, , y] of runs) {
    ctx.fillRect(x, top + y - 1, wide, 1.5);
    if (before >= 0 && before !== y) ctx.fillRect(x - 0.5, top + Math.min(before, y) - 1, 1.25, Math.abs(before - y) + 1.5);
    before = y;
  }
  ctx.fillStyle = theme.line;
  ctx.fillRect(left, top + height, right - left, 1);
}

/** Above the rows: a bracket over each batch. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintBatches(ctx, { lane, axis, heights, from, to, brushes }) {
  ctx.fillStyle = brushes.theme.faint;
  const [top, bottom] = [heights.top - 6, heights.top - 2];
  for (const { first, end } of batchesOf(lane)) {
    const x0 = axis.left(lane, first);
    const x1 = axis.right(lane, end) - 1;
    if (x1 < from - 2 || x0 > to + 2 || x1 - x0 < 4) continue;
    ctx.fillRect(x0, top, x1 - x0, 1.5);
    ctx.fillRect(x0, top, 1.5, bottom - top);
    ctx.fillRect(x1 - 1.5, top, 1.5, bottom - top);
  }
}

/** A line where a control was changed during the run. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintChanges(ctx, { lane, axis, heights, from, to, brushes }) {
  const bottom = heights.top + heights.rows;
  ctx.fillStyle = brushes.theme.stroke;
  for (const at of lane.byKind[SET]) {
    const x = Math.round(axis.left(lane, at));
    if (x > to + 6 || x < from - 6) continue;
    for (let y = heights.top; y < bottom; y += 5) ctx.fillRect(x - 0.5, y, 1.5, 3);
    ctx.beginPath();
    ctx.moveTo(x, bottom + 1);
    ctx.lineTo(x + 5, bottom + 8);
    ctx.lineTo(x - 5, bottom + 8);
    ctx.fill();
  }
}
