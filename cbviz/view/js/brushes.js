/* What fills a cell: a colour, or a texture. */

import { DECODE, HELD, IDLE, PREFILL, RECOMPUTE, STALLED, WASTED } from "./states.js";
import { PALETTE, colourOf, inkOn, rgb, stalledGround } from "./theme.js";

/** @import { Theme } from "./theme.js" */

/** Patterns of one theme at one pixel ratio. Each state has its own texture; see `THEMES` for the inks' contrast. */
export class Brushes {
  /** @param {Theme} theme @param {number} ratio device pixels a CSS pixel */
  constructor(theme, ratio) {
    this.theme = theme;
    this.ratio = ratio;
    /** @type {Map<string, CanvasPattern | string>} */
    this.made = new Map();
    /** Last offset of each pattern. @type {Map<string, number>} */
    this.shifts = new Map();
    /** @type {{ground: Uint32Array, ink: Uint32Array} | null} */
    this.table = null;
  }

  /**
   * What fills a cell. `shift` keeps patterns in place while the view pans.
   * @param {CanvasRenderingContext2D} ctx @param {number} state @param {number} request @param {number} shift
   */
  fill(ctx, state, request, shift) {
    if (state === DECODE) return colourOf(request);
    if (state === IDLE) return this.theme.spare[0];
    if (state === STALLED) return stalledGround(colourOf(request), this.theme);
    const key = state === HELD || state === WASTED ? String(state) : `${state} ${colourOf(request)}`;
    let pattern = this.made.get(key);
    if (!pattern) {
      pattern = this.pattern(ctx, state, request);
      this.made.set(key, pattern);
    }
    if (typeof pattern !== "string" && this.shifts.get(key) !== shift) {
      this.shifts.set(key, shift);
      pattern.setTransform(new DOMMatrix([1 / this.ratio, 0, 0, 1 / this.ratio, ((shift % 6) + 6) % 6, 0]));
    }
    return pattern;
  }

  /** What fills the rejected share of a cell: the grey of held cells, slanted. @param {CanvasRenderingContext2D} ctx */
  rejected(ctx) {
    let pattern = this.made.get("rejected");
    if (!pattern) {
      const [tile, t] = this.tile(this.theme.held);
      t.lineWidth = 1.2;
      for (const x of [-6, 0, 6]) line(t, x - 1, 7, x + 7, -1);
      pattern = ctx.createPattern(tile, "repeat") ?? this.theme.held[0];
      if (typeof pattern !== "string") pattern.setTransform(new DOMMatrix([1 / this.ratio, 0, 0, 1 / this.ratio, 0, 0]));
      this.made.set("rejected", pattern);
    }
    return pattern;
  }

  /** Ground and ink of every state and request colour as ImageData keeps them: index state * 8 + the colour's number. Closed slots stay 0: nothing is there. */
  pixels() {
    if (!this.table) {
      this.table = { ground: new Uint32Array(64), ink: new Uint32Array(64) };
      const theme = this.theme;
      PALETTE.forEach((colour, whose) => {
        const pale = stalledGround(colour, theme);
        const pairs = [
          theme.spare, [colour, inkOn(colour)], [colour, colour], [colour, inkOn(colour)], theme.held, [pale, pale], theme.wasted,
        ];
        pairs.forEach(([ground, ink], state) => {
          /** @type {{ground: Uint32Array, ink: Uint32Array}} */ (this.table).ground[state * 8 + whose] = pixel(ground);
          /** @type {{ground: Uint32Array, ink: Uint32Array}} */ (this.table).ink[state * 8 + whose] = pixel(ink);
        });
      });
    }
    return this.table;
  }

  /** A tile of 6 × 6 px in a ground, and a context that draws on it in an ink. @param {[string, string]} inks @returns {[HTMLCanvasElement, CanvasRenderingContext2D]} */
  tile([ground, ink]) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6 * this.ratio;
    const t = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
    t.scale(this.ratio, this.ratio);
    t.fillStyle = ground;
    t.fillRect(0, 0, 6, 6);
    t.fillStyle = t.strokeStyle = ink;
    return [tile, t];
  }

  /** One tile of 6 × 6 px, repeated. @param {CanvasRenderingContext2D} ctx @param {number} state @param {number} request @returns {CanvasPattern | string} */
  pattern(ctx, state, request) {
    const [ground, ink] = state === HELD ? this.theme.held : state === WASTED ? this.theme.wasted : [colourOf(request), inkOn(colourOf(request))];
    const [tile, t] = this.tile([ground, ink]);
    if (state === PREFILL) {
      t.lineWidth = 1.5;
      for (const x of [-6, 0, 6]) line(t, x - 1, -1, x + 7, 7);
    } else if (state === RECOMPUTE) {
      t.fillRect(1, 0, 2, 6);
    } else if (state === HELD) {
      t.lineWidth = 0.9;
      line(t, 1.6, 1.6, 4.4, 4.4);
      line(t, 4.4, 1.6, 1.6, 4.4);
    } else {
      t.beginPath();
      t.arc(3, 3, 1.15, 0, 7);
      t.fill();
    }
    return ctx.createPattern(tile, "repeat") ?? ground;
  }
}

/** A stroke between two points. @param {CanvasRenderingContext2D} ctx @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
export function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

/** A colour as ImageData keeps it, 0xAABBGGRR. @param {string} colour "#rrggbb" */
export const pixel = (colour) => {
  const [r, g, b] = rgb(colour);
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
};
