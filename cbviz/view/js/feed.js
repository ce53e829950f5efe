/* The browser's end of one live widget: flow control, and recovery from lost messages. */

import { Run } from "./run.js";
import { bytesOf } from "./wire.js";

/** @import { Board } from "./board.js" */
/** @import { Text } from "./catalogue.js" */
/** @import { Host } from "./view.js" */

/** Milliseconds between two requests for missing data. */
const ASK_EVERY = 100;

/**
 * The feeds of the page's widgets. Pictures and widgets come with copies of this module of their own, so the page itself
 * holds them.
 * @returns {Set<Feed>}
 */
const feedsOfPage = () => (/** @type {any} */ (globalThis).__cbviz_feeds ??= new Set());

/** The engine behind the picture of a run that has ended, which can begin anew; null if there is none. @param {string} [picture] its id @returns {Host | null} */
export function hostBehind(picture = "") {
  for (const feed of feedsOfPage()) if (feed.canRestart(picture)) return feed.ended(picture);
  return null;
}

/** Receives increments, confirms every message, and asks for missing data. Each widget has one, shared by its boards. */
export class Feed {
  /** @param {any} model an anywidget model */
  constructor(model) {
    this.model = model;
    this.run = new Run();
    /** @type {Set<Pick<Board, "refresh" | "changed" | "comeIntoSight" | "restart">>} */
    this.boards = new Set();
    /** Whether the page has shown a board of it: then it knows the output in which the next one, or a picture, goes. */
    this.seen = false;
    /** Number of the run that is shown: how often the engine has begun anew. */
    this.epoch = Number(model.get("_meta")?.epoch ?? 0);
    /** Why a request waits, in each lane, as the engine said last. @type {{request: number, reasons: Text[]} | null} */
    this.why = null;
    /** The engine's last refusal of a control. */
    this.refusal = "";
    /** Number of the newest message. */
    this.lastSeq = -1;
    /** The status of the run as it was known last. */
    this.was = model.get("_status");
    /** Time in ms of the last request for missing data. */
    this.asked = 0;
    this.onmessage = (/** @type {any} */ content, /** @type {any[]} */ buffers) => this.message(content, buffers ?? []);
    this.onwhole = () => this.whole();
    this.onstatus = () => this.status();
    this.onmeta = () => {
      this.meta();
      this.refresh();
    };
    feedsOfPage().add(this);
    model.on("msg:custom", this.onmessage);
    model.on("change:_run", this.onwhole);
    model.on("change:_meta", this.onmeta);
    for (const name of ["_status", "_knobs", "_actions"]) model.on(`change:${name}`, this.onstatus);
    this.meta();
    this.whole();
    if (model.get("_status") !== "recorded") this.hello("hello");
  }

  /** Titles and lanes. */
  meta() {
    const meta = this.model.get("_meta") ?? {};
    this.belongs(meta.epoch);
    if (!this.run.lanes.length && meta.lanes) this.run.setLanes(meta.lanes);
    this.run.meta = { ...this.run.meta, ...meta };
    this.run.version++;
  }

  /** A new status, or new controls. A run that waited for its Start, and begins, comes into sight. */
  status() {
    const before = this.was;
    this.was = this.model.get("_status");
    this.refresh();
    if (before === "waiting" && this.was === "running") for (const board of this.boards) board.comeIntoSight();
  }

  /**
   * Whether something belongs to the run that is shown. What is still on its way from an earlier run does not; the first
   * sign of a later one empties the lanes.
   * @param {number} [epoch]
   */
  belongs(epoch = 0) {
    if (epoch <= this.epoch) return epoch === this.epoch;
    this.epoch = epoch;
    this.why = null;
    this.run.restart();
    for (const board of this.boards) board.restart();
    return true;
  }

  /** Takes the whole run from the widget's state: views that open late, or missed the end, need nothing else. */
  whole() {
    const bytes = bytesOf(this.model.get("_run"));
    if (!bytes.length || !this.belongs(this.model.get("_meta")?.epoch)) return;
    this.run.add(bytes);
    this.refresh();
  }

  /** Asks for everything after the data received so far. @param {"hello" | "resync"} type */
  hello(type) {
    this.asked = Date.now();
    this.model.send({ type, epoch: this.epoch, have: this.run.have() });
  }

  /** Handles a message from the kernel. @param {any} content @param {any[]} buffers */
  message(content, buffers) {
    const { refusal } = this;
    if (content?.type === "refused") {
      this.refusal = String(content.sentence ?? "");
    } else if (content?.type === "why") {
      this.why = content;
    } else if (content?.type === "frame" && !this.belongs(content.epoch)) {
      this.lastSeq = content.seq;
      this.model.send({ type: "ack", seq: content.seq });
    } else if (content?.type === "frame") {
      this.refusal = content.refusal ?? this.refusal;
      let whole = true;
      for (const buffer of buffers) whole = this.run.add(bytesOf(buffer)) && whole;
      if (this.lastSeq >= 0 && content.seq > this.lastSeq + 1) whole = whole && !this.behind(content.have);
      this.lastSeq = content.seq;
      this.model.send({ type: "ack", seq: content.seq });
      if ((!whole || this.behind(content.have)) && Date.now() - this.asked > ASK_EVERY) this.hello("resync");
    }
    if (content?.type !== "frame" || refusal !== this.refusal) this.refresh();
    else for (const board of this.boards) board.changed(); // texts follow at their own pace: writing them costs a layout
  }

  /** Whether data that was sent has not arrived. @param {number[] | undefined} sent iterations of each lane sent so far */
  behind(sent) {
    const have = this.run.have();
    return Array.isArray(sent) && sent.some((n, lane) => n > (have[lane] ?? 0));
  }

  /** Makes every board draw the new data. */
  refresh() {
    for (const board of this.boards) board.refresh();
  }

  /** The engine's controls; null for a recording. @returns {Host | null} */
  host() {
    if (this.model.get("_status") === "recorded") return null;
    return {
      state: () => ({ status: this.model.get("_status"), actions: this.model.get("_actions") ?? [], knobs: this.model.get("_knobs") ?? [], refusal: this.refusal, why: this.why }),
      send: (message) => this.model.send({ type: "control", ...message }),
    };
  }

  /**
   * Whether its run has ended, can begin anew, and has this picture in its place. A page that was opened after the end has
   * the picture from the file and the widget from the kernel, but a new board would find no output to go to.
   * @param {string} picture
   */
  canRestart(picture) {
    return picture !== "" && this.seen && feedsOfPage().has(this) && this.model.get("_meta")?.kept === picture && (this.model.get("_actions") ?? []).includes("restart");
  }

  /** The engine of an ended run behind its picture: all it can do is begin anew. @param {string} picture @returns {Host} */
  ended(picture) {
    const actions = () => (this.canRestart(picture) ? ["restart"] : []);
    return { state: () => ({ status: "recorded", actions: actions(), refusal: this.refusal }), send: (message) => this.model.send({ type: "control", ...message }) };
  }

  close() {
    feedsOfPage().delete(this);
    this.model.off("msg:custom", this.onmessage);
    this.model.off("change:_run", this.onwhole);
    this.model.off("change:_meta", this.onmeta);
    for (const name of ["_status", "_knobs", "_actions"]) this.model.off(`change:${name}`, this.onstatus);
  }
}
