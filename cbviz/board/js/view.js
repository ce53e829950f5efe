/* What one viewer sees of a run, and what they can do: time, zoom, chosen request, language. Touches no page. */

import { Camera, SETTLE } from "./camera.js";
import { number } from "./numbers.js";
import { Playhead, SPEEDS } from "./playhead.js";
import { ADMIT, FINISH, PREEMPT, SET, STALL } from "./states.js";
import { say } from "./words.js";

/** @import { Mode } from "./axis.js" */
/** @import { Lane } from "./lane.js" */
/** @import { Run } from "./run.js" */
/** @import { Language } from "./words.js" */

/**
 * Where a live run is controlled; absent for recorded runs.
 * @typedef {object} Host
 * @property {() => {status: string, actions: string[], knobs: any[], refusal: string}} state
 * @property {(message: Record<string, any>) => void} send
 */

/**
 * What a view asks of the page that shows it.
 * @typedef {object} Page
 * @property {() => void} changed draws once in the next frame
 * @property {(text: string) => void} tell shows a sentence
 */

/** Kinds of mark that a viewer can jump to, and their words. @type {[number, string][]} */
export const JUMPS = [[ADMIT, "j_admit"], [FINISH, "j_finish"], [PREEMPT, "j_preempt"], [STALL, "j_stall"], [SET, "j_set"]];

/** The state of one view. Every method that changes what is seen asks the page to draw. */
export class View {
  /**
   * @param {Run} run
   * @param {Page} page
   * @param {{language?: Language, host?: Host | null, follow?: boolean}} [options]
   */
  constructor(run, page, { language = "en", host = null, follow = true } = {}) {
    this.run = run;
    this.page = page;
    this.host = host;
    /** @type {Language} */
    this.language = language === "zh" ? "zh" : "en";
    this.time = new Playhead(run, () => this.live(), follow);
    this.camera = new Camera(this.time);
    /** The cell under the pointer, or chosen by keys. @type {{lane: number, slot: number, iteration: number} | null} */
    this.pointed = null;
    /** Requests, -1 for none: the one that was kept, and the one that is pointed at. */
    this.pinned = -1;
    this.hovered = -1;
    /** The slot that keys have chosen. */
    this.chosen = { lane: 0, slot: -1 };
    this.jumpKind = ADMIT;
    /** Stop was pressed, and the kernel has not answered yet: it may be busy with a cell. */
    this.askedToStop = false;
    /** Page time in ms from which on numbers and texts are written again. */
    this.textDue = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.settling = undefined;
  }

  /** Words in the view's language. @param {string} key @param {Record<string, string | number>} [blanks] */
  say(key, blanks) {
    return say(this.language, key, blanks);
  }

  /** A number as the view's language writes it. @param {number} value @param {number} [digits] */
  num(value, digits) {
    return number(this.language, value, digits);
  }

  /** Draw, numbers and texts included. */
  refresh() {
    this.textDue = 0;
    this.page.changed();
  }

  status() {
    return this.host?.state().status ?? "recorded";
  }

  live() {
    return this.host !== null && ["running", "paused", "stopping"].includes(this.host.state().status);
  }

  /** The request that stands out; -1 if none does. */
  lit() {
    return this.pinned >= 0 ? this.pinned : this.hovered;
  }

  /** Iterations of a lane that are over. @param {Lane} lane */
  shown(lane) {
    return this.time.shown(lane);
  }

  // Time

  /** @param {number} value in units of the axis @param {boolean} [snap] to whole iterations */
  moveTo(value, snap = false) {
    this.time.moveTo(value, snap);
    this.camera.reveal();
    this.page.changed();
  }

  toEnd() {
    this.time.toEnd();
    this.camera.reveal();
    if (!this.live()) this.pauseView();
    this.page.changed();
  }

  /** At the newest iteration of a live run a step forward is the engine's. @param {number} direction @param {number} [count] */
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

  /** Play and pause: the engine where the run is live, and the view. */
  toggle() {
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
    this.camera.reveal();
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

  /** To the next or previous mark of a kind, by default of the kind chosen last. @param {number | null} kind @param {1 | -1} direction */
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

  /** The time of a frame has come. @param {number} time ms of the page */
  tick(time) {
    const played = this.time.playing;
    this.time.tick(time);
    if (played || (this.time.follow && this.live())) this.camera.reveal();
  }

  // Zoom

  fit() {
    this.camera.fitted = true;
    this.page.changed();
  }

  /** @param {number} factor @param {number} [px] that stays where it is; by default the cursor's */
  zoom(factor, px) {
    if (this.camera.zoom(factor, px)) this.moved();
  }

  /** @param {number} px to the right */
  pan(px) {
    if (!this.camera.width) return;
    this.camera.pan(px);
    this.moved();
  }

  /** Draw quickly while it moves, and finely once it rests. */
  moved() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.page.changed(), SETTLE + 20);
    this.page.changed();
  }

  // The request that stands out

  /** @param {number} request -1 for none */
  hover(request) {
    if (this.hovered === request) return;
    this.hovered = request;
    this.refresh();
  }

  /** Keeps a request; again, or -1: releases it. @param {number} request */
  pin(request) {
    this.pinned = request < 0 || this.pinned === request ? -1 : request;
    this.refresh();
  }

  /** Walks through lanes and slots; the request that sits there now stands out. @param {number} lanes @param {number} slots */
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

  releaseAll() {
    this.pin(-1);
    this.chosen.slot = -1;
    this.hover(-1);
  }

  // The engine

  /** Sends a control to a live run; does nothing otherwise. @param {Record<string, any>} message */
  control(message) {
    if (!this.live()) return;
    this.host?.send(message);
    if (message.action !== "stop") return;
    this.askedToStop = true;
    this.refresh();
  }

  close() {
    clearTimeout(this.settling);
  }
}
