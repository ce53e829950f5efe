/* The moment of a run that a view shows, and how it moves. */

import { convert } from "./axis.js";

/** @import { Mode } from "./axis.js" */
/** @import { Lane } from "./lane.js" */
/** @import { Run } from "./run.js" */

/** Playing speeds to choose from. */
export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64];
/** Iterations a second at speed 1, at least, where the viewer has the camera. */
export const PACE = 10;

/** A place on the time axis, in iterations or seconds, that may play or follow the newest iteration. */
export class Playhead {
  /**
   * @param {Run} run
   * @param {() => boolean} live whether the run is still running
   * @param {boolean} follow
   */
  constructor(run, live, follow) {
    this.run = run;
    this.live = live;
    /** @type {Mode} */
    this.mode = "iterations";
    /** Units of the axis. */
    this.cursor = 0;
    /** At the newest iteration, also while the run grows. */
    this.follow = follow;
    this.playing = false;
    this.speed = 1;
    /** Iterations a second at speed 1: the director's, or the viewer's. */
    this.rate = () => PACE;
    /** Page time of the last frame in ms; 0 at rest. */
    this.last = 0;
  }

  /** The newest moment of all lanes, in units of the axis. */
  extent() {
    return Math.max(0, ...this.run.lanes.map((lane) => this.at(lane, lane.n)));
  }

  /** The first k iterations of a lane, in units of the axis. @param {Lane} lane @param {number} k */
  at(lane, k) {
    return this.mode === "iterations" ? k : lane.secondsAt(k);
  }

  /** The lane through which cursor values map between iterations and seconds: the longest. */
  guide() {
    return this.run.lanes.reduce((a, b) => (b.n > a.n ? b : a), this.run.lanes[0]);
  }

  now() {
    return this.follow ? this.extent() : Math.min(this.cursor, this.extent());
  }

  atEnd() {
    return this.now() >= this.extent() - 1e-12;
  }

  /** Iterations of a lane that have ended at the cursor. @param {Lane} lane */
  shown(lane) {
    if (this.follow) return lane.n;
    return this.mode === "iterations" ? Math.min(lane.n, Math.floor(this.cursor + 1e-9)) : lane.iterationsAt(this.cursor);
  }

  /** Units of an average iteration. */
  unit() {
    const lane = this.guide();
    return this.mode === "iterations" || !lane?.n ? 1 : lane.secondsAt(lane.n) / lane.n;
  }

  /** Units per second while playing. An average iteration takes equally long on both axes. */
  pace() {
    return this.rate() * this.speed * this.unit();
  }

  /** @param {number} value @param {boolean} [snap] to whole iterations */
  moveTo(value, snap = false) {
    const most = this.extent();
    this.cursor = Math.max(0, Math.min(most, value));
    if (snap && this.mode === "iterations") this.cursor = Math.round(this.cursor);
    this.follow = this.cursor >= most && (this.live() || !this.playing);
  }

  /** The run has begun anew. */
  restart() {
    this.cursor = this.last = 0;
    this.follow = true;
    this.playing = false;
  }

  toEnd() {
    this.cursor = this.extent();
    this.follow = true;
  }

  /** Plays from here, or from the beginning if a recorded run is at its end. */
  play() {
    this.cursor = !this.live() && this.now() >= this.extent() && this.extent() > 0 ? 0 : this.now();
    this.follow = false;
    this.playing = true;
    this.last = 0;
  }

  /** Pauses; false if it was not playing. */
  pause() {
    if (!this.playing) return false;
    this.playing = false;
    this.cursor = this.now();
    return true;
  }

  /** Advances to the time of a frame. @param {number} time ms of the page */
  tick(time) {
    const elapsed = this.last ? Math.min(0.1, (time - this.last) / 1000) : 0;
    this.last = time;
    if (!this.playing) return;
    this.cursor += elapsed * this.pace();
    if (this.cursor < this.extent()) return;
    this.cursor = this.extent();
    this.follow = true;
    this.playing = false;
  }

  /** The cursor value after a step of `count` iterations; null without lanes. @param {number} direction @param {number} count */
  stepTo(direction, count) {
    if (this.mode === "iterations") return (direction > 0 ? Math.floor(this.now() + 1e-9) : Math.ceil(this.now() - 1e-9)) + direction * count;
    const lane = this.guide();
    if (!lane) return null;
    return lane.secondsAt(Math.max(0, Math.min(lane.n, this.shown(lane) + direction * count)));
  }

  /** The nearest moment in a direction at which a mark of a kind has just happened in any lane; null if there is none. @param {number} kind @param {1 | -1} direction */
  nearest(kind, direction) {
    /** @type {number | null} */
    let best = null;
    for (const lane of this.run.lanes) {
      const k = lane.jump(kind, this.shown(lane), direction);
      if (k === null || k > lane.n) continue;
      const value = this.at(lane, k);
      if (direction > 0 ? value <= this.now() + 1e-12 : value >= this.now() - 1e-12) continue;
      if (best === null || (direction > 0 ? value < best : value > best)) best = value;
    }
    return best;
  }

  /** Switches the axis and keeps the place. @param {Mode} mode */
  setMode(mode) {
    const lane = this.guide();
    if (lane) this.cursor = convert(lane, this.now(), this.mode, mode);
    this.mode = mode;
  }
}
