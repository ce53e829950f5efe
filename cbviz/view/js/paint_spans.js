/* A lane's rows span by span, with labels and marks. */

import { batchOf } from "./batches.js";
import { line } from "./brushes.js";
import { lastAtMost } from "./columns.js";
import { LINE } from "./layout.js";
import { CLOSED, DECODE, ENDS, ENTERS, HELD, IDLE, LOSES, STALLED, WASTED } from "./states.js";
import { colourOf, stalledInk, textOn } from "./theme.js";
import { say } from "./words.js";

/** @import { Axis } from "./axis.js" */
/** @import { Lane } from "./lane.js" */
/** @import { Scene } from "./paint.js" */

/** First span of a slot that may reach beyond a px. @param {Lane} lane @param {number} slot @param {Axis} axis @param {number} px */
function firstSpan(lane, slot, axis, px) {
  const i = axis.iteration(lane, px);
  return Math.max(0, i >= lane.n ? lane.rows[slot].first.length - 1 : lane.spanAt(slot, Math.max(0, i)) - 1);
}

/** All rows. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintSpans(ctx, scene) {
  const { lane, heights } = scene;
  for (let slot = 0; slot < lane.slots; slot++) paintRow(ctx, scene, slot, () => true);
  // A veil would not dim a white label, so those of other requests are left out under one.
  if (heights.pitch >= LINE && scene.lit < 0) for (let slot = 0; slot < lane.slots; slot++) paintLabels(ctx, scene, slot, () => true);
}

/** One row: the spans of the wanted requests. @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} slot @param {(request: number) => boolean} wanted */
function paintRow(ctx, scene, slot, wanted) {
  const { lane, axis, heights, from, to, brushes } = scene;
  const theme = brushes.theme;
  const row = lane.rows[slot];
  const y = heights.top + slot * heights.pitch;
  const h = heights.pitch - heights.gap;
  const shift = axis.x(0);
  const unit = axis.pitch(lane);
  const mark = Math.max(1, Math.min(3, unit * 0.45));
  for (let j = firstSpan(lane, slot, axis, from); j < row.first.length; j++) {
    const x0 = axis.left(lane, row.first[j]);
    if (x0 > to) break;
    const end = lane.endOf(slot, j);
    const x1 = axis.right(lane, end);
    if (x1 < from || !wanted(row.request[j])) continue;
    const state = row.state[j];
    if (state === CLOSED) continue;
    const wide = Math.max(x1 - x0, 0.5);
    ctx.fillStyle = brushes.fill(ctx, state, row.request[j], shift);
    const soft = heights.pitch >= 14 && wide > 7 && state !== IDLE && state !== WASTED && state !== HELD;
    if (soft) {
      const opens = j === 0 || row.request[j - 1] !== row.request[j] ? 2.5 : 0;
      ctx.beginPath();
      ctx.roundRect(x0, y, wide, h, [opens, 0, 0, opens]);
      ctx.fill();
    } else ctx.fillRect(x0, y, wide, h);
    if (state === IDLE && h >= 4) {
      // A spare slot: plain, with a line at its bottom.
      ctx.fillStyle = theme.spare[1];
      ctx.fillRect(x0, y + h - 1, wide, 1);
    }
    if (state === STALLED && h >= 4) {
      ctx.fillStyle = stalledInk(colourOf(row.request[j]), theme);
      ctx.fillRect(x0, y + h / 2 - 1, wide, 2);
      if (wide >= 7 && h >= 12) {
        ctx.fillRect(x0 + 1, y + h / 2 - 4, 1.8, 8);
        ctx.fillRect(x0 + 4.2, y + h / 2 - 4, 1.8, 8);
      }
    }
    if (state === DECODE && lane.drafts[slot].at.length) paintDrafts(ctx, scene, slot, j);
    const flags = row.flags[j];
    if (flags & ENDS) {
      ctx.fillStyle = theme.end;
      ctx.fillRect(x1 - mark, y, mark, h);
    }
    if (flags & LOSES) {
      // A torn edge: the request did not end here, it was preempted.
      ctx.fillStyle = theme.ground;
      ctx.fillRect(x1 - mark - 1.5, y, mark + 1.5, h);
      ctx.fillStyle = theme.cursor;
      const tooth = Math.max(2, h / 4);
      for (let t = 0; t * tooth < h; t += 2) ctx.fillRect(x1 - mark, y + t * tooth, mark, Math.min(tooth, h - t * tooth));
    }
    if (flags & ENTERS && unit >= 5 && h >= 10) {
      ctx.fillStyle = theme.end;
      ctx.beginPath();
      ctx.moveTo(x0, y);
      ctx.lineTo(x0 + 5, y);
      ctx.lineTo(x0, y + 5);
      ctx.fill();
    }
  }
}

/**
 * Drafts in the cells of a span: from the top a notch for each accepted one, and from below, hatched, the share of the
 * cell's work that was rejected.
 * @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} slot @param {number} span
 */
function paintDrafts(ctx, { lane, axis, heights, from, to, brushes }, slot, span) {
  const { at, checked, accepted } = lane.drafts[slot];
  const y = heights.top + slot * heights.pitch;
  const h = heights.pitch - heights.gap;
  const end = lane.endOf(slot, span);
  for (let cell = lastAtMost(at, lane.rows[slot].first[span] - 1) + 1; cell < at.length && at[cell] < end; cell++) {
    const x0 = axis.left(lane, at[cell]);
    const wide = Math.max(axis.right(lane, at[cell] + 1) - x0, 0.5);
    if (x0 > to) return;
    if (x0 + wide < from) continue;
    const share = (checked[cell] - accepted[cell]) / (checked[cell] + 1);
    if (share > 0) {
      ctx.fillStyle = brushes.rejected(ctx);
      ctx.fillRect(x0, y + h * (1 - share), wide, h * share);
    }
    if (wide < 4 || h < 8) continue;
    ctx.fillStyle = brushes.theme.end;
    for (let n = 0; n < accepted[cell] && 3 * n + 2 < wide; n++) ctx.fillRect(x0 + 1 + 3 * n, y, 2, 3);
  }
}

/** px between two labels of one bar, at most: one of them stays in sight where its beginning does not, even in a narrow lane. */
const LABEL_EVERY = 260;

/** What requests are called, where it fits, from the beginning of a decode span: it is there as soon as the bar is. @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} slot @param {(request: number) => boolean} wanted */
function paintLabels(ctx, { lane, axis, heights, width, from, to, font, label: called, language }, slot, wanted) {
  const row = lane.rows[slot];
  const y = heights.top + slot * heights.pitch + (heights.pitch - heights.gap) / 2 + 0.5;
  ctx.font = `600 11px ${font}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (let j = firstSpan(lane, slot, axis, from - LABEL_EVERY); j < row.first.length; j++) {
    if (row.state[j] !== DECODE || !wanted(row.request[j])) continue;
    const x0 = axis.left(lane, row.first[j]);
    if (x0 > to) break;
    const x1 = axis.right(lane, lane.endOf(slot, j)) - (row.flags[j] & ENDS ? 3 : 0);
    const label = called(row.request[j]);
    const needs = label.length * 6.6 + 5;
    ctx.fillStyle = textOn(colourOf(row.request[j]));
    const holds = row.flags[j] & ENDS && x1 - x0 >= 150 + needs && batchOf(lane, row.first[j])?.holder === row.request[j];
    // Repeated where much of the bar follows, and not under the words at its end.
    const last = Math.max(x0 + needs, x1 - (holds ? 130 : 60));
    const every = Math.max(Math.min(LABEL_EVERY, width / 2), needs + 30);
    for (let x = x0; x + needs <= Math.min(x1, last) && x <= to; x += every) if (x >= from - LABEL_EVERY) ctx.fillText(label, x + 4, y);
    if (!holds) continue;
    ctx.textAlign = "right";
    ctx.fillText(say(language, "holds"), x1 - 5, y);
    ctx.textAlign = "left";
  }
}

/** Highlights one request: veils everything, then draws its spans again. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintLit(ctx, scene) {
  const { lane, axis, heights, from, to, brushes, lit } = scene;
  const record = lane.requests.get(lit);
  ctx.globalAlpha = 0.66;
  ctx.fillStyle = brushes.theme.veil;
  ctx.fillRect(from, 0, to - from, heights.top + heights.rows);
  ctx.globalAlpha = 1;
  if (!record) return;
  for (const slot of new Set(record.spans.map((entry) => entry.slot))) {
    paintRow(ctx, scene, slot, (request) => request === lit);
    ctx.strokeStyle = brushes.theme.end;
    ctx.lineWidth = 1.5;
    for (const { slot: where, span } of record.spans) {
      if (where !== slot) continue;
      const x0 = axis.left(lane, lane.rows[slot].first[span]);
      const x1 = axis.right(lane, lane.endOf(slot, span));
      if (x1 < from || x0 > to) continue;
      const y = heights.top + slot * heights.pitch;
      line(ctx, x0, y - 0.5, Math.max(x1, x0 + 1), y - 0.5);
      line(ctx, x0, y + heights.pitch - heights.gap + 0.5, Math.max(x1, x0 + 1), y + heights.pitch - heights.gap + 0.5);
    }
    if (heights.pitch >= LINE) paintLabels(ctx, scene, slot, (request) => request === lit);
  }
}
