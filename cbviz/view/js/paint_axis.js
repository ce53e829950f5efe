/* The time axis below a lane, and the numbers of its slots beside it. */

import { tickStep, ticks } from "./axis.js";
import { line } from "./brushes.js";
import { GUTTER } from "./layout.js";
import { number } from "./numbers.js";
import { say } from "./words.js";

/** @import { Scene } from "./paint.js" */

/** Ticks from y = 0 down, and where there is room their labels and the axis's name. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintAxis(ctx, { axis, heights, width, brushes, font, language }) {
  const theme = brushes.theme;
  ctx.strokeStyle = theme.faint;
  ctx.fillStyle = theme.faint;
  ctx.lineWidth = 1;
  ctx.font = `11px ${font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  const step = tickStep(axis.scale, axis.mode === "iterations" ? 74 : 84, axis.mode === "iterations");
  const digits = axis.mode === "iterations" ? 0 : Math.max(0, -Math.floor(Math.log10(step * 1.0000001)));
  const labelled = heights.axis >= 15;
  const name = say(language, axis.mode === "iterations" ? "axis_iterations" : "axis_seconds");
  const room = labelled ? width - ctx.measureText(name).width - 12 : width;
  for (const value of ticks(axis, width)) {
    const x = Math.round(axis.x(value)) + 0.5;
    line(ctx, x, 0, x, 4);
    if (!labelled) continue;
    const label = number(language, value, digits) + (axis.mode === "seconds" ? " " + say(language, "second") : "");
    const half = ctx.measureText(label).width / 2;
    if (x + half <= room) ctx.fillText(label, Math.max(half, x), 6);
  }
  if (!labelled) return;
  ctx.textAlign = "right";
  ctx.fillText(name, width, 6);
}

/** Slot numbers, the names of rows and strip, and hairlines of the rows. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paintGutter(ctx, { lane, heights, width, brushes, font, language }) {
  ctx.fillStyle = brushes.theme.faint;
  ctx.font = `11px ${font}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  const middle = (/** @type {number} */ slot) => heights.top + slot * heights.pitch + (heights.pitch - heights.gap) / 2;
  const every = Math.max(1, [1, 2, 4, 8, 16, 32, 64].find((step) => step * heights.pitch >= 14) ?? 64);
  for (let slot = 0; slot < lane.slots; slot += every) ctx.fillText(number(language, slot), GUTTER - 8, middle(slot));
  ctx.font = `10px ${font}`;
  ctx.fillText(say(language, "slot"), GUTTER - 8, 6); // Chinese needs the room above
  ctx.fillText(say(language, "strip_name"), GUTTER - 4, heights.stripTop + heights.strip / 2);
  if (heights.pitch < 10) return;
  // The future is drawn as empty ruled lines, not as idle slots.
  ctx.strokeStyle = brushes.theme.line;
  ctx.globalAlpha = 0.5;
  ctx.lineWidth = 1;
  for (let slot = 0; slot < lane.slots; slot++) {
    const y = Math.round(middle(slot)) + 0.5;
    line(ctx, GUTTER, y, GUTTER + width, y);
  }
  ctx.globalAlpha = 1;
}
