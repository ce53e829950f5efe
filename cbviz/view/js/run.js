/* The data of a whole board: lanes, prompts, titles. */

import { Lane } from "./lane.js";
import { decodeBlock } from "./wire.js";

/** @typedef {{prompt: string, promptTokens: number, maxNew: number, arrival: number | null}} RequestText */

/** A prompt that is a label: the toys of a course call their requests S1, S2, … */
const LABEL = /^[A-Z]{1,2}\d{0,4}$/;

/** Seconds: a shorter run is over before its time means anything. */
export const SHORTEST_RUN = 1;

/** The data received of a run. Blocks may arrive in any order and any number of times. */
export class Run {
  constructor() {
    /** @type {Lane[]} */
    this.lanes = [];
    /** @type {Record<string, any>} */
    this.meta = {};
    /** Requests of all lanes, by id. @type {Map<number, RequestText>} */
    this.shared = new Map();
    /** Requests of one lane alone; these take precedence. @type {Map<number, RequestText>[]} */
    this.own = [];
    /** Number of blocks that arrived after a gap. */
    this.gaps = 0;
    /** Increases with every change of the data. */
    this.version = 0;
  }

  /**
   * Whether seconds are worth showing, by the rule of `cbviz.measure.lane_times`. The result says so where there is one;
   * until then every lane must have lasted long enough for its clock to mean anything.
   */
  get timed() {
    const { finish } = this.meta;
    if (finish && finish.timed !== undefined) return Boolean(finish.timed);
    return finish?.clock === "virtual" || (this.lanes.length > 0 && this.lanes.every((lane) => lane.secondsAt(lane.n) >= SHORTEST_RUN));
  }

  /** @param {{name: string, summary?: string, slots: number, total_blocks?: number}[]} infos */
  setLanes(infos) {
    this.lanes = infos.map((info) => new Lane(info));
    this.own = infos.map(() => new Map());
    this.version++;
  }

  /** Drops everything but the lanes themselves: the engine has begun anew. */
  restart() {
    this.setLanes(this.lanes.map((lane) => ({ name: lane.name, summary: lane.summary, slots: lane.slots, total_blocks: lane.totalBlocks })));
    this.shared.clear();
  }

  /** Adds blocks. False if a gap shows that a block was lost. @param {Uint8Array} bytes */
  add(bytes) {
    let whole = true;
    for (let at = 0; at < bytes.length; ) {
      const { header, arrays, next } = decodeBlock(bytes, at);
      at = next;
      if (header.kind === "meta") {
        this.meta = { ...this.meta, ...header.meta };
        if (header.meta.lanes && !this.lanes.length) this.setLanes(header.meta.lanes);
      } else if (header.kind === "requests") {
        const table = header.lane === null ? this.shared : this.own[header.lane];
        for (const [id, prompt, promptTokens, maxNew, arrival] of header.rows) table.set(id, { prompt, promptTokens, maxNew, arrival });
      } else if (header.kind === "iterations") {
        const lane = header.lane === null ? undefined : this.lanes[header.lane];
        if (!lane || lane.slots !== header.slots) throw new Error("a block belongs to a lane that this board does not have.");
        const answer = lane.append(header, arrays);
        if (answer === "gap") {
          this.gaps++;
          whole = false;
        }
      }
      this.version++;
    }
    return whole;
  }

  /** Iterations known of each lane. */
  have() {
    return this.lanes.map((lane) => lane.n);
  }

  /** Prompt and limits of a request; null if they are not known. @param {number} lane @param {number} id */
  about(lane, id) {
    return this.own[lane]?.get(id) ?? this.shared.get(id) ?? null;
  }

  /** What a request is called on the page: its own label, or else its id. @param {number} id @returns {string} */
  label(id) {
    const prompt = (this.shared.get(id) ?? this.own.find((table) => table.has(id))?.get(id))?.prompt ?? "";
    return LABEL.test(prompt) ? prompt : String(id);
  }

  /** The request that is called so; -1 if there is none. @param {string} label */
  named(label) {
    for (const table of [this.shared, ...this.own]) for (const id of table.keys()) if (this.label(id) === label) return id;
    return -1;
  }

  /** Whether a lane has served all its requests. @param {number} lane */
  served(lane) {
    const { n, sum } = this.lanes[lane];
    return sum.finished.at(n) === this.total(lane);
  }

  /** Number of requests that a lane will serve. @param {number} lane */
  total(lane) {
    return Math.max(this.shared.size, this.own[lane]?.size ?? 0, this.lanes[lane].sum.arrived.at(this.lanes[lane].n));
  }
}
