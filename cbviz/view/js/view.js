/* The state of one view of a run: time, zoom, highlighted request, language. Does not touch the page. */

import { Camera, SETTLE } from "./camera.js";
import { languageOf } from "./catalogue.js";
import { Director, TAKES } from "./director.js";
import { number } from "./numbers.js";
import { PACE, Playhead, SPEEDS } from "./playhead.js";
import { ADMIT, FINISH, PREEMPT, SET, STALL } from "./states.js";
import { say } from "./words.js";

/** @import { Mode } from "./axis.js" */
/** @import { Lane } from "./lane.js" */
/** @import { Run } from "./run.js" */
/** @import { Language, Text } from "./catalogue.js" */

/**
 * Where a live run is controlled; absent for recorded runs.
 * @typedef {object} Host
 * @property {() => {status: string, actions: string[], knobs?: any[], refusal: string, why?: {request: number, reasons: Text[]} | null}} state
 * @property {(message: Record<string, any>) => void} send
 */

/**
 * What a view needs from the page that shows it.
 * @typedef {object} Page
 * @property {() => void} changed draws once in the next frame
 * @property {(text: string) => void} tell shows a sentence
 * @property {() => boolean} [still] whether the viewer wants less motion
 */

/** Waiting requests through which the keys go. */
const QUEUE = 24;

/** Kinds of mark that a viewer can jump to, and their words. @type {[number, string][]} */
export const JUMPS = [[ADMIT, "j_admit"], [FINISH, "j_finish"], [PREEMPT, "j_preempt"], [STALL, "j_stall"], [SET, "j_set"]];

/** Milliseconds after which the engine is asked again why a request waits. */
const ASK_WHY_EVERY = 400;

/** The state of one view. Every method that changes what is seen asks the page to draw. */
export class View {
  /**
   * @param {Run} run
   * @param {Page} page
   * @param {{language?: Language, host?: Host | null, follow?: boolean}} [options]
   */
  constructor(run, page, { language, host = null, follow = true } = {}) {
    this.run = run;
    this.page = page;
    this.host = host;
    /** @type {Language} */
    this.language = languageOf(language);
    this.time = new Playhead(run, () => this.live(), follow);
    this.camera = new Camera(this.time);
    this.director = new Director(this.time, this.camera, () => page.still?.() ?? false);
    this.time.rate = () => (this.director.directs ? this.director.rate() : Math.max(PACE, this.inSight() / TAKES));
    /** The cell under the pointer, or chosen by keys. @type {{lane: number, slot: number, iteration: number} | null} */
    this.pointed = null;
    /** Requests, -1 for none: the pinned one, and the one under the pointer. */
    this.pinned = -1;
    this.hovered = -1;
    /** The side of the lanes on which a card does not cover what is pointed at. @type {"left" | "right"} */
    this.away = "right";
    /** The slot chosen by keys. */
    this.chosen = { lane: 0, slot: -1 };
    this.jumpKind = ADMIT;
    /** Page time of the last frame in ms. */
    this.clock = 0;
    /** Whether Stop was pressed and the kernel, perhaps busy with a cell, has not answered yet. */
    this.askedToStop = false;
    /** The same of Start. */
    this.askedToStart = false;
    /** The engine's last refusal when a run that had ended was asked to begin anew; null if it was not asked, or has begun. @type {string | null} */
    this.askedAgain = null;
    /** The request that the engine was asked about last, and when, in ms of the page. */
    this.askedWhy = { request: -1, at: -1e9 };
    /** Page time in ms from which numbers and texts may be updated again. */
    this.textDue = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.settling = undefined;
  }

  /** A message in the view's language. @param {string} key @param {Record<string, string | number>} [blanks] */
  say(key, blanks) {
    return say(this.language, key, blanks);
  }

  /** A number formatted in the view's language. @param {number} value @param {number} [digits] */
  num(value, digits) {
    return number(this.language, value, digits);
  }

  /** Draws everything, numbers and texts included. */
  refresh() {
    this.textDue = 0;
    this.page.changed();
  }

  status() {
    return this.host?.state().status ?? "recorded";
  }

  /** The run's controls: as they are, or in a recording as they were last. @returns {any[]} */
  knobs() {
    return this.host?.state().knobs ?? this.run.meta.knobs ?? [];
  }

  live() {
    return this.host !== null && ["waiting", "running", "paused", "stopping"].includes(this.host.state().status);
  }

  /** The highlighted request; -1 if none. */
  lit() {
    return this.pinned >= 0 ? this.pinned : this.hovered;
  }

  /** Iterations of a lane that have ended. @param {Lane} lane */
  shown(lane) {
    return this.time.shown(lane);
  }

  /** Iterations in sight. */
  inSight() {
    return this.camera.width / this.camera.axis.scale / this.time.unit();
  }

  /** The camera is the viewer's from here on. */
  takeCamera() {
    this.director.release();
  }

  /** The director's caption; null if there is none. */
  caption() {
    return this.director.caption(this.clock);
  }

  /** Gives the camera back to the director. */
  direct() {
    this.director.take();
    this.refresh();
  }

  // Time

  /** @param {number} value in units of the axis @param {boolean} [snap] to whole iterations */
  moveTo(value, snap = false) {
    this.takeCamera();
    this.time.moveTo(value, snap);
    this.camera.reveal();
    this.page.changed();
  }

  toEnd() {
    this.time.toEnd();
    this.director.glides = this.director.directs;
    this.camera.reveal();
    if (!this.live()) this.pauseView();
    this.page.changed();
  }

  /** Steps; at the newest iteration of a live run, a step forward is a step of the engine. @param {number} direction @param {number} [count] */
  step(direction, count = 1) {
    if (direction > 0 && this.live() && this.time.now() >= this.time.extent()) {
      this.time.follow = true;
      this.control({ action: "step" });
      return;
    }
    this.pauseView();
    const place = this.time.stepTo(direction, count);
    if (place !== null) this.moveTo(place);
  }

  /** Starts a run that waits for it. */
  start() {
    if (this.status() !== "waiting" || this.askedToStart) return;
    this.control({ action: "start" });
    this.askedToStart = true;
    this.refresh();
  }

  /** Plays or pauses the view, and the engine if the run is live; starts a run that waits for it. */
  toggle() {
    if (this.status() === "waiting") {
      this.start();
      return;
    }
    if (!this.live()) {
      if (this.time.playing) this.pauseView();
      else this.play();
      return;
    }
    if (this.status() === "running") {
      this.control({ action: "pause" });
      this.time.playing = false;
    } else {
      this.control({ action: "resume" });
      if (!this.time.follow) this.time.playing = true;
    }
    this.page.changed();
  }

  play() {
    this.time.play();
    if (!this.director.directs) this.camera.reveal();
    this.page.changed();
  }

  pauseView() {
    if (this.time.pause()) this.page.changed();
  }

  /** One of `SPEEDS`; anything else means 1. @param {number} speed */
  setSpeed(speed) {
    this.time.speed = SPEEDS.includes(speed) ? speed : 1;
    this.refresh();
  }

  /** @param {Mode} mode */
  setMode(mode) {
    if (mode === this.time.mode) return;
    this.camera.setMode(mode);
    this.time.setMode(mode);
    this.page.changed();
  }

  /** Jumps to the next or previous mark of a kind, by default the kind chosen last. @param {number | null} kind @param {1 | -1} direction */
  jump(kind, direction) {
    this.jumpKind = kind ?? this.jumpKind;
    this.textDue = 0;
    this.pauseView();
    const place = this.time.nearest(this.jumpKind, direction);
    if (place !== null) {
      this.moveTo(place);
      this.page.tell("");
      return;
    }
    const [, words] = JUMPS.find(([other]) => other === this.jumpKind) ?? JUMPS[0];
    this.page.tell(this.say("none_left", { what: this.say(words) }));
    this.page.changed();
  }

  /** Advances to the time of a frame. @param {number} time ms of the page */
  tick(time) {
    this.clock = time;
    const played = this.time.playing;
    this.time.tick(time);
    if (this.director.directs) {
      const scale = this.camera.axis.scale;
      if (this.director.frame(time)) this.page.changed();
      if (scale !== this.camera.axis.scale) this.settle();
    } else if (played || (this.time.follow && this.live())) this.camera.reveal();
  }

  // Zoom

  fit() {
    this.takeCamera();
    this.camera.fitted = true;
    this.page.changed();
  }

  /** @param {number} factor @param {number} [px] that stays where it is; by default the cursor's */
  zoom(factor, px) {
    this.takeCamera();
    if (this.camera.zoom(factor, px)) this.moved();
  }

  /** @param {number} px to the right */
  pan(px) {
    if (!this.camera.width) return;
    this.takeCamera();
    this.camera.pan(px);
    this.moved();
  }

  /** Draws quickly while the view moves, and in full detail once it rests. */
  moved() {
    this.settle();
    this.page.changed();
  }

  /** Draws once more when the view has come to rest. */
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.page.changed(), SETTLE + 20);
  }

  // The highlighted request

  /** @param {number} request -1 for none */
  hover(request) {
    if (this.hovered === request) return;
    this.hovered = request;
    this.refresh();
  }

  /** Pins a request; a second call, or -1, unpins it. @param {number} request */
  pin(request) {
    this.pinned = request < 0 || this.pinned === request ? -1 : request;
    this.refresh();
  }

  /** Moves through lanes and slots, and highlights the request in the slot. @param {number} lanes @param {number} slots */
  choose(lanes, slots) {
    const all = this.run.lanes;
    if (!all.length) return;
    this.chosen.lane = Math.max(0, Math.min(all.length - 1, this.chosen.lane + lanes));
    const lane = all[this.chosen.lane];
    this.chosen.slot = Math.max(0, Math.min(lane.slots - 1, this.chosen.slot < 0 ? 0 : this.chosen.slot + slots));
    this.hoverChosen();
    this.page.changed();
  }

  hoverChosen() {
    if (this.chosen.slot < 0) return;
    const lane = this.run.lanes[this.chosen.lane];
    const iteration = this.shown(lane) - 1;
    const span = lane.spanAt(this.chosen.slot, iteration);
    this.pointed = { lane: this.chosen.lane, slot: this.chosen.slot, iteration };
    this.hover(span >= 0 ? lane.rows[this.chosen.slot].request[span] : -1);
  }

  /** Highlights the next request in the queue of the chosen lane, or the one before it. @param {1 | -1} direction */
  chooseWaiting(direction) {
    const lane = this.run.lanes[this.chosen.lane];
    if (!lane) return;
    const queue = lane.queue.waiting(this.shown(lane), QUEUE).map(({ request }) => request);
    this.chosen.slot = -1;
    this.pointed = null;
    const place = queue.indexOf(this.hovered);
    this.hover(queue[place < 0 ? (direction > 0 ? 0 : queue.length - 1) : (place + direction + queue.length) % queue.length] ?? -1);
  }

  /** Asks the engine why the highlighted request waits, and again while it stands out; does nothing if it waits nowhere. */
  askWhy() {
    const { actions = [] } = this.host?.state() ?? {};
    const request = this.lit();
    if (request < 0 || !this.live() || this.status() === "waiting" || !actions.includes("why")) return;
    if (request === this.askedWhy.request && this.clock - this.askedWhy.at < ASK_WHY_EVERY) return;
    if (!this.run.lanes.some((lane) => lane.queue.open.has(request))) return;
    this.askedWhy = { request, at: this.clock };
    this.control({ action: "why", request });
  }

  /** Why the highlighted request waits in a lane; null if it does not, or the engine has not said. @param {number} lane @returns {Text | null} */
  whyWaits(lane) {
    const why = this.host?.state().why;
    if (!why || !this.live() || why.request !== this.lit() || !this.run.lanes[lane]?.queue.open.has(why.request)) return null;
    return why.reasons[lane] || null;
  }

  releaseAll() {
    this.pin(-1);
    this.chosen.slot = -1;
    this.hover(-1);
  }

  // The engine

  /** Whether the run can begin anew: any that has ended, and one with knobs also while it runs. */
  canRestart() {
    return this.status() !== "waiting" && (this.host?.state().actions ?? []).includes("restart") && (!this.live() || this.knobs().length > 0);
  }

  /** Begins a run anew that can do so. */
  startOver() {
    if (!this.host || !this.canRestart()) return;
    this.askedAgain = this.live() ? null : this.host.state().refusal;
    this.host.send({ action: "restart" });
    this.refresh();
  }

  /** Sends a control to a live run; does nothing otherwise. @param {Record<string, any>} message */
  control(message) {
    if (!this.live()) return;
    this.host?.send(message);
    if (message.action !== "stop") return;
    this.askedToStop = true;
    this.refresh();
  }

  /** The engine has begun anew. */
  restart() {
    this.time.restart();
    this.camera.fitted = true;
    this.director.restart();
    this.pinned = this.hovered = this.chosen.slot = -1;
    this.pointed = this.askedAgain = null;
    this.textDue = 0;
  }

  close() {
    clearTimeout(this.settling);
  }
}
