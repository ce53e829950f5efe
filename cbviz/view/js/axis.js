/* Time along the page: iterations or seconds, and px. */

import { lastAtMost } from "./columns.js";

/** @import { Lane } from "./lane.js" */
/** @typedef {"iterations" | "seconds"} Mode */

/** Maps time to the page: `start` (iterations or seconds) is at the left edge, with `scale` px per unit. */
export class Axis {
  /** @param {Mode} mode @param {number} start @param {number} scale */
  constructor(mode, start, scale) {
    this.mode = mode;
    this.start = start;
    this.scale = scale;
  }
  /** @param {number} value @returns {number} px */
  x(value) {
    return (value - this.start) * this.scale;
  }
  /** @param {number} px @returns {number} iterations or seconds */
  value(px) {
    return this.start + px / this.scale;
  }
  /** Left edge of iteration i in px. @param {Lane} lane @param {number} i */
  left(lane, i) {
    if (this.mode === "iterations") return this.x(i);
    return this.x(i < lane.n ? lane.t0.at(i) : lane.secondsAt(lane.n));
  }
  /** Right edge of iteration i - 1 in px. @param {Lane} lane @param {number} i */
  right(lane, i) {
    return this.mode === "iterations" ? this.x(i) : this.x(lane.secondsAt(i));
  }
  /** Iteration under a px; may lie outside 0 … n - 1. @param {Lane} lane @param {number} px */
  iteration(lane, px) {
    const value = this.value(px);
    return this.mode === "iterations" ? Math.floor(value) : lastAtMost(lane.t0.data, value, lane.n);
  }
  /** px of an average iteration. @param {Lane} lane */
  pitch(lane) {
    if (this.mode === "iterations") return this.scale;
    return lane.n ? (lane.secondsAt(lane.n) / lane.n) * this.scale : this.scale;
  }
}

/**
 * An axis zoomed by `factor`, within limits, around a px that keeps its place.
 * @param {Axis} axis @param {number} px @param {number} factor @param {number} least @param {number} most px a unit
 */
export function zoomed(axis, px, factor, least, most) {
  const scale = Math.min(most, Math.max(least, axis.scale * factor));
  return new Axis(axis.mode, axis.value(px) - px / scale, scale);
}

/** A step of 1, 2 or 5 × 10^n so that ticks keep `room` px between them. @param {number} scale @param {number} room @param {boolean} whole */
export function tickStep(scale, room, whole) {
  const least = room / scale;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((m) => m * power).find((candidate) => candidate >= least * 0.999999) ?? 10 * power;
  return whole ? Math.max(1, Math.round(step)) : step;
}

/**
 * Tick values between the edges of `width` px.
 * @param {Axis} axis @param {number} width
 * @returns {number[]}
 */
export function ticks(axis, width) {
  const step = tickStep(axis.scale, axis.mode === "iterations" ? 74 : 84, axis.mode === "iterations");
  const values = [];
  for (let k = Math.max(0, Math.ceil(axis.start / step - 1e-9)); k * step <= axis.value(width) + 1e-9; k++) values.push(k * step);
  return values;
}

/**
 * Converts a cursor value from one axis to the other through one lane, so that the cursor keeps its place.
 * @param {Lane} lane @param {number} value @param {Mode} from @param {Mode} to
 */
export function convert(lane, value, from, to) {
  if (from === to || lane.n === 0) return value;
  if (to === "seconds") {
    const whole = Math.min(Math.floor(value), lane.n);
    if (whole >= lane.n) return lane.secondsAt(lane.n) + Math.max(0, value - lane.n) * (lane.secondsAt(lane.n) / lane.n);
    return lane.secondsAt(whole) + (value - whole) * (lane.t1.at(whole) - lane.secondsAt(whole));
  }
  const end = lane.secondsAt(lane.n);
  if (value >= end) return lane.n + (value - end) / (end / lane.n);
  const whole = lane.iterationsAt(value);
  const [a, b] = [lane.secondsAt(whole), lane.t1.at(whole)];
  return whole + (b > a ? (value - a) / (b - a) : 0);
}
