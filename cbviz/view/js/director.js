/* The directed camera: near enough to see one slot change hands, slower where it first does, then faster and farther, to the whole. */

import { Axis, convert } from "./axis.js";

/** @import { Camera } from "./camera.js" */
/** @import { Playhead } from "./playhead.js" */
/** @import { Refill } from "./lane.js" */

/** Iterations in sight at the opening. */
export const OPEN = 60;
/** Seconds from the first iteration to the finish of a long run at speed 1. */
export const TAKES = 20;
/** Seconds of history that stay in sight when it goes fast. */
const HISTORY = 5;
/** Iterations a second while the first refill is shown, and the iterations before and after it for which this lasts. */
const SLOW = 1.2;
const BEFORE = 1;
const AFTER = 2;
/** Iterations a second of a calm pace, at least and at most. */
const CALM = [2, 6];
/** Iterations after a refill for which a recorded run shows its caption, and milliseconds for which a live one does. */
const CAPTION = 7;
const CAPTION_MS = 3500;
/** Milliseconds between two frames of a page that is awake, at most. */
const AWAKE_MS = 500;
/** Where the cursor is, as a share of the width: while the view follows it, when the whole run is in sight, and in a live run. */
const FOLLOWS = 0.72;
const WHOLE = 1 / 1.015;
const LIVE = 0.85;
/** Seconds in which the view covers two thirds of the way to where it should be. */
const GLIDE = 0.22;

/**
 * How fast a run of `n` iterations is shown: pace(c) is the iterations a second at iteration c. It opens calmly, slows
 * at the first refill (iteration `refill`, or -1), and then accelerates steadily so that all of it takes about `TAKES`
 * seconds; a short run takes less.
 * @param {number} n @param {number} refill
 */
export function script(n, refill) {
  const start = refill < 0 ? 0 : Math.min(n, refill + AFTER);
  const opening = refill < 0 ? 0 : Math.max(0, refill - BEFORE);
  const open = Math.max(CALM[0], opening / 4);
  const left = Math.max(TAKES * 0.4, TAKES - opening / open - (start - opening) / SLOW);
  const rest = Math.max(0, n - start);
  const calm = Math.max(CALM[0], Math.min(CALM[1], rest / left));
  // Growth a second: the time ln(1 + growth · rest / calm) / growth that the rest takes falls as it grows.
  let [low, high] = [1e-6, 8];
  for (let k = 0; k < 50; k++) {
    const growth = (low + high) / 2;
    if (Math.log1p((growth * rest) / calm) / growth > left) low = growth;
    else high = growth;
  }
  const growth = rest / calm > left ? high : 0;
  return (/** @type {number} */ c) => {
    if (c < opening) return open;
    if (c < start) return SLOW;
    return calm + growth * (c - start);
  };
}

/** Decides what is in sight, and how fast a recorded run plays, until the viewer takes over. */
export class Director {
  /** @param {Playhead} time @param {Camera} camera @param {() => boolean} still whether the viewer wants less motion */
  constructor(time, camera, still) {
    this.time = time;
    this.camera = camera;
    this.still = still;
    /** Whether it directs; false from the viewer's first touch until a button gives the camera back. */
    this.directs = true;
    /** Whether the view is still on its way. */
    this.glides = false;
    /** Iterations in sight, 0 before the first frame, and the cursor's place as a share of the width. */
    this.columns = 0;
    this.share = FOLLOWS;
    /** Page time of the last frame in ms; 0 at rest. */
    this.last = 0;
    /** Iterations a second of a live run, averaged, and iterations at the last frame. */
    this.pace = 0;
    this.before = 0;
    /** Page time in ms at which a live run's first refill happened before the viewer; -Infinity if it had happened before. */
    this.refilled = -Infinity;
    /** Page time in ms of the last look at a live run, -Infinity before, and whether its first refill had happened. */
    this.looked = -Infinity;
    this.known = false;
    /** @type {{key: string, pace: (c: number) => number}} */
    this.made = { key: "", pace: () => CALM[1] };
  }

  /** The first slot that changes hands in any lane while others in its batch decode on. @returns {{lane: number, at: number, refill: Refill} | null} */
  refill() {
    /** @type {{lane: number, at: number, refill: Refill} | null} */
    let first = null;
    this.time.run.lanes.forEach((lane, index) => {
      if (lane.refill === null) return;
      const at = this.iterations(this.time.mode === "iterations" ? lane.refill.at : lane.t0.at(lane.refill.at));
      if (first === null || at < first.at) first = { lane: index, at, refill: lane.refill };
    });
    return first;
  }

  /** A moment in iterations of the longest lane. @param {number} value in units of the axis */
  iterations(value) {
    const lane = this.time.guide();
    return lane ? convert(lane, value, this.time.mode, "iterations") : 0;
  }

  /** A moment in units of the axis. @param {number} at in iterations of the longest lane */
  value(at) {
    const lane = this.time.guide();
    return lane ? convert(lane, at, "iterations", this.time.mode) : 0;
  }

  /** Iterations a second at the cursor, at speed 1. */
  rate() {
    const n = this.time.guide()?.n ?? 0;
    const refill = this.refill()?.at ?? -1;
    const key = `${n} ${refill}`;
    if (this.made.key !== key) this.made = { key, pace: script(n, refill) };
    return this.made.pace(this.iterations(this.time.now()));
  }

  /** The refill that a caption is about; null if there is none. @param {number} now page time in ms */
  caption(now) {
    if (!this.directs) return null;
    const first = this.refill();
    if (!first) return null;
    if (this.time.live() && this.time.follow) {
      return this.inPicture(first.at) && now - this.refilled < CAPTION_MS ? first : null;
    }
    const since = this.iterations(this.time.now()) - first.at;
    return since >= 0 && since < CAPTION && !this.time.atEnd() ? first : null;
  }

  /** Where a caption stands: it goes with the cursor, then stays with the column that it is about. @param {number} at in iterations of the longest lane */
  beside(at) {
    return this.camera.axis.x(Math.min(this.time.now(), this.value(at + CAPTION)));
  }

  /** Whether the view has not gone past a moment. @param {number} at in iterations of the longest lane */
  inPicture(at) {
    return this.camera.axis.mode === this.time.mode && this.camera.axis.x(this.value(at)) >= 0;
  }

  /** The run has begun anew: it opens as at first. */
  restart() {
    this.directs = true;
    this.glides = false;
    this.columns = this.last = this.pace = this.before = 0;
    this.share = FOLLOWS;
    this.refilled = this.looked = -Infinity;
    this.known = false;
    this.made = { key: "", pace: () => CALM[1] };
  }

  /** Looks whether a live run's first refill has just happened: a page that was opened later, or slept, has missed it. @param {number} ms of the page */
  look(ms) {
    const first = this.refill();
    const since = first ? this.iterations(this.time.extent()) - first.at : 0;
    if (first && !this.known) this.refilled = since < CAPTION || ms - this.looked < AWAKE_MS ? ms : -Infinity;
    // What has left the picture is no longer its caption, though the view may go back to it as it widens.
    else if (first && !this.inPicture(first.at)) this.refilled = -Infinity;
    this.known = first !== null;
    this.looked = ms;
  }

  /** The viewer takes the camera. */
  release() {
    this.directs = this.glides = false;
    this.last = 0;
  }

  /** The viewer gives the camera back. */
  take() {
    this.directs = this.glides = true;
    this.last = 0;
    // From what is in sight now.
    const { axis, width } = this.camera;
    this.columns = width ? width / axis.scale / this.time.unit() : 0;
    this.share = width ? Math.max(0, Math.min(1, axis.x(this.time.now()) / width)) : FOLLOWS;
  }

  /** Moves the view for a frame. Whether another frame is needed although nothing plays. @param {number} ms of the page */
  frame(ms) {
    const { time, camera } = this;
    const live = time.live() && time.follow;
    if (time.live()) this.look(ms);
    const moves = time.playing || live;
    if (!this.directs || !camera.width || !time.guide() || (!moves && !this.glides)) {
      this.last = 0;
      return false;
    }
    const elapsed = this.last ? (ms - this.last) / 1000 : 0;
    this.last = ms;
    const whole = camera.whole() / time.unit();
    const wanted = this.wanted(whole, live, elapsed);
    const first = this.columns === 0;
    const part = first || this.still() ? 1 : 1 - Math.exp(-Math.min(0.1, elapsed) / GLIDE);
    if (first) [this.columns, this.share] = [wanted.columns, wanted.share];
    this.columns *= (wanted.columns / this.columns) ** part;
    this.share += (wanted.share - this.share) * part;
    const there = Math.abs(Math.log(wanted.columns / this.columns)) < 0.004 && Math.abs(wanted.share - this.share) < 0.004;
    if (there) [this.columns, this.share] = [wanted.columns, wanted.share];
    this.place();
    this.glides = moves || !there;
    if (!this.glides) this.last = 0;
    // At its end the whole run is in sight, and stays so at any width.
    camera.fitted = there && !moves && time.atEnd();
    return time.playing ? false : live ? !there : this.glides;
  }

  /** Iterations in sight, and the cursor's share of the width. @param {number} whole iterations of all there is @param {boolean} live @param {number} elapsed seconds since the last frame */
  wanted(whole, live, elapsed) {
    const { time } = this;
    if (!live && !time.playing && time.atEnd()) return { columns: whole, share: WHOLE };
    let pace = live ? this.liveRate(elapsed) : this.rate();
    if (this.still()) pace = 2 ** Math.ceil(Math.log2(Math.max(1, pace))); // in few steps
    const columns = Math.min(whole, Math.max(OPEN, HISTORY * pace, live ? this.behind() / LIVE : 0));
    const out = whole > OPEN ? Math.max(0, columns - OPEN) / (whole - OPEN) : 1;
    return { columns, share: live ? LIVE : FOLLOWS + (WHOLE - FOLLOWS) * out };
  }

  /** Iterations from the head of the slowest lane that still runs to the end of all, and some of its history: it stays in sight. */
  behind() {
    const { time } = this;
    const runs = time.run.lanes.filter((lane, index) => lane.n > 0 && !time.run.served(index));
    const heads = runs.map((lane) => this.iterations(time.mode === "iterations" ? lane.n : lane.secondsAt(lane.n)));
    return heads.length ? 1.15 * (this.iterations(time.extent()) - Math.min(...heads)) : 0;
  }

  /** Iterations a second of a live run. @param {number} elapsed seconds since the last frame */
  liveRate(elapsed) {
    const n = this.time.guide().n;
    if (elapsed > 0) {
      const part = 1 - Math.exp(-elapsed / 0.6);
      this.pace += ((n - this.before) / elapsed - this.pace) * part;
    }
    this.before = n;
    return this.pace;
  }

  /** Puts the view where it is now. */
  place() {
    const { time, camera } = this;
    const span = this.columns * time.unit();
    const now = time.now();
    const scale = camera.width / span;
    const { axis } = camera;
    let start = Math.max(0, now - this.share * span);
    // In whole pages where motion is to be reduced.
    if (this.still() && axis.scale === scale && axis.mode === time.mode && axis.x(now) >= 0 && axis.x(now) <= camera.width * 0.95) start = axis.start;
    // Whole pixels, so that the painted picture can be moved instead of repainted.
    camera.direct(new Axis(time.mode, Math.round(start * scale) / scale, scale));
  }
}
