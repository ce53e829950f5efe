/* A lane's rows: span by span, or by columns of several iterations if the spans are too close. */

import { lastAtMost } from "./columns.js";
import { paintColumns } from "./paint_columns.js";
import { paintLit, paintSpans } from "./paint_spans.js";

/** @import { Axis } from "./axis.js" */
/** @import { Brushes } from "./brushes.js" */
/** @import { Lane } from "./lane.js" */
/** @import { Heights } from "./layout.js" */
/** @import { Language } from "./catalogue.js" */

/**
 * What to paint of one lane. `from` and `to`: the px to paint; `draft`: the view is moving, so speed matters more than
 * detail; `lit`: the highlighted request, or -1; `label`: what a request is called.
 * @typedef {{lane: Lane, axis: Axis, heights: Heights, width: number, brushes: Brushes, font: string, lit: number, language: Language, from: number, to: number, draft: boolean, lanes: number, label: (request: number) => string}} Scene
 */

/** If more spans than this are visible, they are drawn as columns. */
const MOST_SPANS = 4500;
/** Spans narrower than this on average, in px, are drawn as columns too: they would hide one another. */
const NARROW = 6;

/** Whether the scene has to be drawn as columns of several iterations. @param {Scene} scene */
export function needsColumns({ lane, axis, width, draft, lanes }) {
  const from = Math.max(0, axis.iteration(lane, 0));
  const to = Math.min(lane.n, axis.iteration(lane, width) + 1);
  let spans = 0;
  for (const row of lane.rows) spans += lastAtMost(row.first, to) - lastAtMost(row.first, from) + 1;
  return spans > (draft ? MOST_SPANS / 3 : MOST_SPANS) / Math.sqrt(lanes) || (width * lane.slots) / spans < NARROW;
}

/** All rows up to the newest iteration. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintRows(ctx, scene) {
  if (needsColumns(scene)) paintColumns(ctx, scene);
  else paintSpans(ctx, scene);
  if (scene.lit >= 0) paintLit(ctx, scene);
}
