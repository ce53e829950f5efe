/* What the colours and textures mean: those that occur. */

import { line } from "./brushes.js";
import { h } from "./dom.js";
import { pixelRatio } from "./look.js";
import { DECODE, FINISH, HELD, IDLE, PREEMPT, PREFILL, RECOMPUTE, STALLED, WASTED } from "./states.js";
import { PALETTE, stalledInk } from "./theme.js";

/** @import { Look } from "./look.js" */
/** @import { View } from "./view.js" */

/** States and their words; a legend has those that occur in what is shown. @type {[number, string][]} */
const ENTRIES = [[PREFILL, "prefill"], [DECODE, "decode"], [HELD, "held"], [STALLED, "stalled"], [RECOMPUTE, "recompute"], [IDLE, "idle"], [WASTED, "wasted_idle"]];

/** Swatches with words. */
export class Legend {
  /** @param {View} view @param {Look} look */
  constructor(view, look) {
    this.view = view;
    this.look = look;
    this.element = h("div", { class: "cb-legend", role: "list" });
    /** What it explains now. */
    this.shown = "";
  }

  /** Rebuilt only when there is something new to explain. */
  draw() {
    if (this.shown !== this.needed()) this.build();
  }

  /** What occurs up to the newest iteration: states, then marks. */
  needed() {
    const { lanes } = this.view.run;
    const states = ENTRIES.filter(([state]) => lanes.some((lane) => lane.occurs[state])).map(([, words]) => words);
    const marks = /** @type {[number, string][]} */ ([[FINISH, "end_mark"], [PREEMPT, "preempt_mark"]]).filter(([kind]) => lanes.some((lane) => lane.byKind[kind].length)).map(([, words]) => words);
    const drafts = [...(lanes.some((lane) => lane.accepts) ? ["accepted"] : []), ...(lanes.some((lane) => lane.rejects) ? ["rejected"] : [])];
    return [...states, ...drafts, ...marks, ...(lanes.some((lane) => lane.changes.length) ? ["change_mark"] : [])].join(" ");
  }

  build() {
    const { theme, brushes } = this.look;
    this.shown = this.needed();
    this.element.dataset.shown = this.shown;
    const shown = new Set(this.shown.split(" "));
    this.element.replaceChildren();
    for (const [state, words] of ENTRIES.filter((entry) => shown.has(entry[1])))
      this.entry(words, 20, (ctx) => {
        ctx.fillStyle = brushes.fill(ctx, state, 0, 0);
        ctx.beginPath();
        ctx.roundRect(0, 0, 20, 14, 2);
        ctx.fill();
        if (state === IDLE) {
          ctx.fillStyle = theme.spare[1];
          ctx.fillRect(0, 13, 20, 1);
        } else if (state === STALLED) {
          ctx.fillStyle = stalledInk(PALETTE[0], theme);
          ctx.fillRect(0, 6, 20, 2);
        }
      });
    if (shown.has("accepted"))
      this.entry("accepted", 20, (ctx) => {
        ctx.fillStyle = PALETTE[0];
        ctx.fillRect(0, 0, 20, 14);
        ctx.fillStyle = theme.end;
        for (let n = 0; n < 3; n++) ctx.fillRect(1 + 3 * n, 0, 2, 3);
      });
    if (shown.has("rejected"))
      this.entry("rejected", 20, (ctx) => {
        ctx.fillStyle = brushes.rejected(ctx);
        ctx.fillRect(0, 0, 20, 14);
      });
    if (shown.has("end_mark"))
      this.entry("end_mark", 7, (ctx) => {
        ctx.fillStyle = theme.end;
        ctx.fillRect(2, 0, 3, 14);
      });
    if (shown.has("preempt_mark"))
      this.entry("preempt_mark", 7, (ctx) => {
        ctx.fillStyle = theme.cursor;
        for (let t = 0; t < 4; t += 2) ctx.fillRect(2, t * 3.5, 3, 3.5);
      });
    if (shown.has("change_mark"))
      this.entry("change_mark", 11, (ctx) => {
        ctx.fillStyle = theme.stroke;
        for (let y = 0; y < 14; y += 5) ctx.fillRect(5, y, 1.5, 3);
      });
    this.entry("strip_occupancy", 20, (ctx) => {
      ctx.fillStyle = theme.area;
      ctx.fillRect(0, 6, 20, 8);
      ctx.strokeStyle = theme.stroke;
      ctx.lineWidth = 1.5;
      line(ctx, 0, 6, 20, 6);
    });
  }

  /** @param {string} words @param {number} width px @param {(ctx: CanvasRenderingContext2D) => void} paint */
  entry(words, width, paint) {
    const ratio = pixelRatio();
    const swatch = h("canvas", { "aria-hidden": "true" });
    swatch.width = width * ratio;
    swatch.height = 14 * ratio;
    swatch.style.width = `${width}px`;
    const ctx = /** @type {CanvasRenderingContext2D} */ (swatch.getContext("2d"));
    ctx.scale(ratio, ratio);
    paint(ctx);
    this.element.append(h("span", { class: "cb-legend-entry", role: "listitem" }, swatch, this.view.say(words)));
  }
}
