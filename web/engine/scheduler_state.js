/* Applying a plan: which request is in which slot, how many tokens each takes in, and what becomes of its KV blocks. */
import { BlockPool } from "./block_pool.js";
import { Live } from "./slots.js";
/** @import { Seat } from "../executor/executor.js" */
/** @import { PlainPlan } from "./plan.js" */
/** @import { Reason } from "./reason.js" */

/** @typedef {{request: number, slot: number, reason: Reason}} Mark what happened to a request at an iteration's boundary */
/** @typedef {{seats: Seat[], admitted: Mark[], preempted: Mark[], stalled: Mark[]}} Moves */

/** All requests of an engine, and their moves between the queue and the slots. */
export class SchedulerState {
  /** @param {number} slots @param {BlockPool} pool @param {number} contextLimit */
  constructor(slots, pool, contextLimit) {
    this.pool = pool;
    this.contextLimit = contextLimit;
    /** @type {(Live | null)[]} */
    this.slots = Array(slots).fill(null);
    /** The queue: preempted requests at its head, the others in order of arrival. @type {Live[]} */
    this.waiting = [];
    /** @type {Map<number, Live>} */
    this.requests = new Map();
    this.admissions = 0;
  }

  /** Whether a request waits or is in a slot. */
  get busy() {
    return this.waiting.length > 0 || this.slots.some((live) => live !== null);
  }

  /** The position that a request computes next. A held row continues to the end of its own blocks, or of the context, and is computed in place there. @param {Live} live */
  writesAt(live) {
    return live.ended ? Math.min(live.computed, Math.min(live.capacity, this.contextLimit) - 1) : live.computed;
  }

  /** Tokens that each slot takes in under a plan. @param {PlainPlan} plan @returns {number[]} */
  counts(plan) {
    return this.slots.map((live) => {
      if (!live) return 0;
      if (live.ended) return plan.hold.includes(live.id) ? 1 : 0;
      if (plan.preempt.has(live.id) || plan.pause.has(live.id)) return 0;
      return plan.chunk.get(live.id) ?? live.known - live.computed;
    });
  }

  /** Blocks needed and free, if the running requests outgrow the pool under this plan. @param {PlainPlan} plan @param {number[]} counts */
  shortage(plan, counts) {
    let needed = 0;
    let free = this.pool.free;
    this.slots.forEach((live, slot) => {
      if (!live) return;
      if (live.ended ? !plan.hold.includes(live.id) : plan.preempt.has(live.id)) free += this.pool.of(live.id);
      if (!live.ended) needed += this.pool.blocksFor(Math.max(0, live.computed + counts[slot] - live.capacity));
    });
    if (!needed) return null;
    for (const { request, reserve } of plan.admit) needed += this.pool.blocksFor(reserve ?? this.live(request).most);
    return needed > free ? { needed, free } : null;
  }

  /** Releases, preempts, admits and pauses as a checked plan says. @param {PlainPlan} plan @param {number} iteration @returns {Moves} */
  apply(plan, iteration) {
    this.release(plan);
    const preempted = [...plan.preempt].map(([request, reason]) => this.preempt(this.live(request), reason));
    /** @type {Seat[]} */
    const seats = [];
    const admitted = plan.admit.map(({ request, reserve, reason }) => {
      const live = this.live(request);
      const slot = this.slots.indexOf(null);
      this.waiting.splice(this.waiting.indexOf(live), 1);
      this.slots[slot] = live;
      live.admitted = iteration;
      live.order = this.admissions++;
      this.grow(live, reserve ?? live.most);
      seats.push({ slot, tokens: [...live.request.prompt, ...live.output] });
      return { request, slot, reason };
    });
    const stalled = [...plan.pause].map(([request, reason]) => ({ request, slot: this.slots.indexOf(this.live(request)), reason }));
    return { seats, admitted, preempted, stalled };
  }

  /** Empties the slots of finished requests that the plan does not hold. @param {PlainPlan} plan */
  release(plan) {
    for (const live of [...this.slots]) if (live?.ended && !plan.hold.includes(live.id)) this.leave(live);
  }

  /** Moves a running request to the head of the queue; its blocks are discarded. @param {Live} live @param {Reason} reason @returns {Mark} */
  preempt(live, reason) {
    const slot = this.slots.indexOf(live);
    live.seen = Math.max(live.seen, live.computed);
    live.preemptions++;
    this.leave(live);
    this.waiting.unshift(live);
    return { request: live.id, slot, reason };
  }

  /** Gives a request blocks until they have room for `positions`. @param {Live} live @param {number} positions */
  grow(live, positions) {
    this.pool.grow(live.id, positions);
    live.capacity = this.pool.of(live.id) * this.pool.blockSize;
  }

  /** Empties a request's slot and gives its blocks back. @param {Live} live */
  leave(live) {
    this.pool.release(live.id);
    this.slots[this.slots.indexOf(live)] = null;
    live.computed = live.capacity = 0;
  }

  /** Blocks with at least one written position, and blocks allotted but still unwritten. */
  memory() {
    let reserved = 0;
    for (const live of this.slots) if (live) reserved += Math.floor((live.capacity - live.computed) / this.pool.blockSize);
    return { used: this.pool.blocks - this.pool.free - reserved, reserved };
  }

  /** @param {number} request @returns {Live} */
  live(request) {
    return /** @type {Live} */ (this.requests.get(request));
  }
}
