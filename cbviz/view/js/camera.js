/* Which part of the time axis is visible: all of it, or the part that the viewer zoomed and panned to. */

import { Axis, convert, zoomed } from "./axis.js";

/** @import { Mode } from "./axis.js" */
/** @import { Playhead } from "./playhead.js" */

/** Milliseconds after a movement until the view counts as at rest. */
export const SETTLE = 140;
/** Widest iteration, in px, that zooming reaches. */
const WIDEST = 60;

/** The axis of all lanes of a board. */
export class Camera {
  /** @param {Playhead} time */
  constructor(time) {
    this.time = time;
    /** Whether the whole run stays visible while it grows. */
    this.fitted = true;
    this.axis = new Axis("iterations", 0, 8);
    /** px of the first lane's drawing; 0 until it is measured. */
    this.width = 0;
    /** Page time in ms at which the view was last zoomed or panned. */
    this.movedAt = -1e9;
  }

  /** Whether the viewer is moving the view, when speed matters more than detail. @param {number} [now] page time in ms */
  moves(now = performance.now()) {
    return now - this.movedAt < SETTLE;
  }

  /** Takes the width of a frame, and fits the axis to it. @param {number} width px */
  measure(width) {
    this.width = width;
    if (this.fitted || this.axis.mode !== this.time.mode) this.axis = this.fit();
  }

  /** All that there is, in units of the axis; while the run grows, with room ahead that widens in steps. */
  whole() {
    const extent = this.time.extent();
    if (!this.time.live()) return Math.max(extent, this.time.mode === "iterations" ? 1 : 1e-6) * 1.015;
    let room = 60 * this.time.unit();
    while (room < extent * 1.04) room *= 1.3;
    return room;
  }

  /** The axis that shows everything. */
  fit() {
    return new Axis(this.time.mode, 0, this.width / this.whole());
  }

  /** Shows what the director wants. @param {Axis} axis */
  direct(axis) {
    // A picture at a new scale is a draft, as under the viewer's hands; at the same scale it is only moved.
    if (this.axis.mode !== axis.mode || Math.abs(axis.scale / this.axis.scale - 1) > 1e-9) this.movedAt = performance.now();
    this.axis = axis;
    this.fitted = false;
  }

  /** Keeps the cursor visible when the view is zoomed. */
  reveal() {
    if (this.fitted || !this.width) return;
    const now = this.time.now();
    const x = this.axis.x(now);
    if (x > this.width * 0.9 || x < 0) this.axis = new Axis(this.time.mode, now - (this.width * 0.75) / this.axis.scale, this.axis.scale);
  }

  /** Zooms around a px, by default the cursor's. False before the lanes are measured. @param {number} factor @param {number} [px] */
  zoom(factor, px) {
    const width = this.width;
    if (!width) return false;
    const { mode } = this.time;
    const at = px ?? Math.max(0, Math.min(width, this.axis.x(this.time.now())));
    const least = width / Math.max(this.time.extent() * 1.5, mode === "iterations" ? 20 : 1e-6);
    const lane = this.time.guide();
    const unit = mode === "iterations" ? 1 : 1 / Math.max(1e-9, lane.secondsAt(lane.n) / Math.max(1, lane.n));
    this.axis = zoomed(this.axis, at, factor, Math.min(least, this.axis.scale), WIDEST * unit);
    this.moved();
    return true;
  }

  /** @param {number} px */
  pan(px) {
    const scale = this.axis.scale;
    // Whole pixels, so that the painted picture can be moved instead of repainted.
    this.axis = new Axis(this.time.mode, Math.round(this.axis.start * scale + px) / scale, scale);
    this.moved();
  }

  moved() {
    this.fitted = false;
    this.clamp();
    this.movedAt = performance.now();
  }

  /** Limits panning so that some of the run stays visible. */
  clamp() {
    const span = this.width / this.axis.scale;
    const most = Math.max(0, this.time.extent() - span * 0.2);
    this.axis.start = Math.max(Math.min(0, -span * 0.05), Math.min(most, this.axis.start));
    if (Math.abs(this.axis.start * this.axis.scale) < 2) this.axis.start = 0;
  }

  /** Switches the axis and keeps the same part of the run visible. Called before the playhead changes. @param {Mode} mode */
  setMode(mode) {
    const lane = this.time.guide();
    if (!lane || this.fitted) return;
    const from = convert(lane, this.axis.start, this.time.mode, mode);
    const to = convert(lane, this.axis.value(this.width), this.time.mode, mode);
    this.axis = new Axis(mode, from, this.width / Math.max(to - from, 1e-9));
  }
}
