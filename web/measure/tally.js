/* What a lane did, counted while it runs: how its slots were used, as `cbviz/measure/slot_use.py` counts them from a trace. */
import { DECODE, HELD, IDLE, PREFILL, RECOMPUTE, STALLED } from "../../cbviz/view/js/states.js";
/** @import { Iteration } from "../engine/loop.js" */

/** Slot-iterations by use; an empty slot is wasted while a request waits, else spare. @typedef {"prefill" | "decode" | "recompute" | "held" | "stalled" | "wasted_idle" | "spare_idle"} Use */

/** @type {Record<number, Use>} */
const USES = { [PREFILL]: "prefill", [DECODE]: "decode", [RECOMPUTE]: "recompute", [HELD]: "held", [STALLED]: "stalled" };

export class Tally {
  constructor() {
    this.iterations = 0;
    /** Seconds on the lane's clock. */
    this.seconds = 0;
    /** @type {Record<Use, number>} */
    this.use = { prefill: 0, decode: 0, recompute: 0, held: 0, stalled: 0, wasted_idle: 0, spare_idle: 0 };
    /** Whether a request ever waited. */
    this.waited = false;
    /** Whether a request was preempted, or one waited although a slot was free. */
    this.shortOfMemory = false;
    /** Iterations of each request's tokens. @type {Map<number, number[]>} */
    this.given = new Map();
    /** Iteration in which each request was first admitted, and in which its output ended. @type {Map<number, number>} */
    this.admitted = new Map();
    /** @type {Map<number, number>} */
    this.finished = new Map();
  }

  /** @param {Iteration} event */
  add({ index, t_end, state, request, token, waiting, admitted, preempted, finished }) {
    this.iterations++;
    this.seconds = t_end;
    this.waited ||= waiting > 0;
    this.shortOfMemory ||= preempted.length > 0 || (waiting > 0 && state.includes(IDLE));
    for (const { request: id } of admitted) if (!this.admitted.has(id)) this.admitted.set(id, index);
    for (const { request: id } of finished) this.finished.set(id, index);
    state.forEach((what, slot) => {
      this.use[what === IDLE ? (waiting > 0 ? "wasted_idle" : "spare_idle") : USES[what]]++;
      if (token[slot] < 0) return;
      const given = this.given.get(request[slot]);
      if (given) given.push(index);
      else this.given.set(request[slot], [index]);
    });
  }
}
