/* What changes hands is seen: a freed slot flashes, and its successor flies in from the queue. Left out where motion is to be reduced, and where it would be too fast to follow. */

import { lastAtMost } from "./columns.js";
import { h } from "./dom.js";
import { GUTTER } from "./layout.js";
import { ADMIT, FINISH, HELD } from "./states.js";
import { colourOf, textOn } from "./theme.js";

/** @import { Lane } from "./lane.js" */
/** @import { Plot } from "./plot.js" */
/** @import { View } from "./view.js" */

/** Iterations since the last frame beyond which nothing can be followed. */
const MOST_STEPS = 3;
/** Iterations a second beyond which nothing is animated. */
const FASTEST = 14;
/** Milliseconds. */
const FLIGHT = 520;
const FLASH = 700;
/** Elements of one lane that move at once, at most. */
const MOST = 12;

/** The moving parts over one lane. */
export class Flights {
  /** @param {View} view @param {Lane} lane @param {Plot} plot @param {HTMLElement} body that holds queue and rows */
  constructor(view, lane, plot, body) {
    this.view = view;
    this.lane = lane;
    this.plot = plot;
    this.body = body;
    /** Iterations shown at the last frame. */
    this.last = 0;
    /** Elements that move now, and how many there were. */
    this.moving = 0;
    this.count = 0;
  }

  /** Starts what happened since the last frame. */
  draw() {
    const { view, lane } = this;
    const k = view.shown(lane);
    const from = this.last;
    this.last = k;
    const moves = view.time.playing || (view.live() && view.time.follow);
    if (!moves || k <= from || k - from > MOST_STEPS || view.page.still?.() || view.time.rate() * view.time.speed > FASTEST) return;
    const { pitch } = this.plot.heights;
    if (pitch < 8) return;
    for (let m = lastAtMost(lane.marksAt.data, from - 1, lane.marksAt.length) + 1; m < lane.marks.length && lane.marks[m].at < k; m++) {
      const mark = lane.marks[m];
      if (mark.slot < 0 || this.moving >= MOST) continue;
      if (mark.kind === FINISH && this.freed(mark.slot, mark.at)) this.flash(mark.slot, mark.at);
      else if (mark.kind === ADMIT && mark.at > 0) this.fly(mark.request, mark.slot, mark.at);
    }
  }

  /** Whether a slot whose request ended is free in the next iteration. @param {number} slot @param {number} at */
  freed(slot, at) {
    const next = this.lane.spanAt(slot, at + 1);
    return next < 0 || this.lane.rows[slot].state[next] !== HELD;
  }

  /** @param {number} slot @param {number} at */
  flash(slot, at) {
    const { plot } = this;
    const { heights } = plot;
    const x = GUTTER + plot.view.camera.axis.right(this.lane, at + 1);
    const made = h("i", { class: "cb-flash", "aria-hidden": "true" });
    Object.assign(made.style, { left: `${x - 3}px`, top: `${heights.top + slot * heights.pitch - 2}px`, width: "64px", height: `${heights.pitch - heights.gap + 4}px` });
    plot.element.append(made);
    this.run(made, [{ opacity: 1 }, { opacity: 0 }], FLASH);
  }

  /** @param {number} request @param {number} slot @param {number} at */
  fly(request, slot, at) {
    const { plot, body, view } = this;
    const frame = body.getBoundingClientRect();
    const chip = body.querySelector(`.cb-chip[data-request="${request}"]:not([hidden])`) ?? body.querySelector(".cb-waiting");
    if (!chip) return;
    const from = chip.getBoundingClientRect();
    const rows = plot.element.getBoundingClientRect();
    const x = rows.left - frame.left + GUTTER + Math.max(0, view.camera.axis.left(this.lane, at));
    const y = rows.top - frame.top + plot.heights.top + slot * plot.heights.pitch;
    const made = h("span", { class: "cb-chip cb-flier", "aria-hidden": "true" }, view.run.label(request));
    made.style.background = colourOf(request);
    made.style.color = textOn(colourOf(request));
    body.append(made);
    const place = (/** @type {number} */ left, /** @type {number} */ top) => `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
    const start = place(from.left - frame.left, from.top - frame.top);
    this.run(made, [{ transform: start, opacity: 1 }, { transform: place(x, y), opacity: 1, offset: 0.85 }, { transform: place(x, y), opacity: 0 }], FLIGHT);
  }

  /** @param {HTMLElement} element @param {Keyframe[]} frames @param {number} duration ms */
  run(element, frames, duration) {
    this.moving++;
    this.count++;
    this.plot.element.dataset.flights = String(this.count);
    const done = () => {
      this.moving--;
      element.remove();
    };
    const motion = element.animate(frames, { duration, easing: "ease-in-out", fill: "both" });
    motion.onfinish = motion.oncancel = done;
  }
}
