/* The loop: plan → launch → commit, once for every forward pass, as `cbviz/core/loop.py` runs it. */
import { DECODE, HELD, IDLE, PREFILL, RECOMPUTE, STALLED } from "../../cbviz/view/js/states.js";
import { BlockPool } from "./block_pool.js";
import { ask, growthShortage } from "./check.js";
import { PolicyError } from "./errors.js";
import { SchedulerState } from "./scheduler_state.js";
import { END, LENGTH, Live } from "./slots.js";
import { RequestView, View } from "./view.js";
/** @import { Step } from "../executor/executor.js" */
/** @import { Request } from "../workload/task_workload.js" */
/** @import { Policy } from "./check.js" */
/** @import { Mark, Moves } from "./scheduler_state.js" */

/** What computes. @typedef {{contextLimit: number, endTokens: number[], launch: (step: Step) => number[]}} Computes */
/**
 * One forward pass, slot by slot: `Iteration` of `cbviz/events.py`. Arrays have one entry a slot; -1 is no request and no token.
 * @typedef {object} Iteration
 * @property {number} index
 * @property {number} t_start
 * @property {number} t_end
 * @property {number[]} request
 * @property {number[]} state
 * @property {number[]} tokens
 * @property {number[]} context
 * @property {number[]} token
 * @property {number[]} allotted
 * @property {number[]} arrived
 * @property {Mark[]} admitted
 * @property {Mark[]} preempted
 * @property {Mark[]} stalled
 * @property {{request: number, slot: number, reason: string}[]} finished
 * @property {number} waiting
 * @property {number} blocks_used
 * @property {number} blocks_reserved
 * @property {number} blocks_total
 */

/** Iterations in a row without first-time progress of any request before the run is called stuck. */
export const STUCK_AFTER = 10_000;

/** How many requests wait, in words. @param {number} count */
const waiting = (count) => (count === 1 ? "1 request waits" : `${count} requests wait`);

/** One engine: its own policy, slots and pool. */
export class Engine {
  /**
   * @param {Computes} executor
   * @param {Policy} policy
   * @param {{slots: number, blocks: number, blockSize: number}} size
   * @param {() => number} [clock] seconds; by default the page's own
   */
  constructor(executor, policy, { slots, blocks, blockSize }, clock = () => performance.now() / 1000) {
    this.executor = executor;
    this.policy = policy;
    this.clock = clock;
    const pool = new BlockPool(blocks, blockSize);
    this.contextLimit = Math.min(executor.contextLimit, blocks * blockSize);
    this.state = new SchedulerState(slots, pool, this.contextLimit);
    /** Seconds on the lane's clock. */
    this.now = 0;
    /** Index of the next iteration. */
    this.iteration = 0;
    /** Requests that have not arrived, in order. @type {Live[]} */
    this.future = [];
    /** @type {number[]} */
    this.arrived = [];
    /** @type {number | null} */
    this.lastAdmission = null;
    this.idle = 0;
  }

  /** Hands over requests, sorted by arrival. Throws for one that can never fit. @param {Request[]} requests */
  submit(requests) {
    for (const request of requests) {
      const live = new Live(request);
      if (live.most > this.contextLimit) throw new Error(`request ${live.id} needs ${live.most} positions, but ${this.contextLimit} fit the context and the pool of ${this.state.pool.blocks} KV blocks; it can never run.`);
      this.state.requests.set(live.id, live);
      this.future.push(live);
    }
  }

  /** Advances by one iteration and returns it; null when every request has ended. Throws a PolicyError before anything has changed. @returns {Iteration | null} */
  step() {
    const { state } = this;
    const began = this.clock();
    for (;;) {
      this.takeArrivals();
      if (state.busy) {
        const plan = ask(this.policy, this.view());
        const counts = state.counts(plan);
        const short = state.shortage(plan, counts);
        if (short) throw growthShortage(this.policy, this.iteration, short.needed, short.free);
        if (plan.admit.length || counts.some((count) => count > 0)) {
          const moves = state.apply(plan, this.iteration);
          return this.run(moves, plan.admit.length ? state.counts(plan) : counts, began);
        }
        state.release(plan);
        if (plan.waitUntil !== null) {
          this.watch(false, ` times in a row no request advanced and it waited, while ${waiting(state.waiting.length)}; it must admit or resume a request`);
          this.now = this.future.length ? Math.min(plan.waitUntil, this.future[0].request.arrival) : plan.waitUntil;
          continue;
        }
      }
      if (this.future.length) this.now = Math.max(this.now, this.future[0].request.arrival);
      else if (state.busy) throw this.stuck(` at iteration ${this.iteration}: ${waiting(state.waiting.length)} and none is computed; it must admit or resume a request`);
      else return null;
    }
  }

  takeArrivals() {
    while (this.future.length && this.future[0].request.arrival <= this.now) {
      const live = /** @type {Live} */ (this.future.shift());
      this.state.waiting.push(live);
      this.arrived.push(live.id);
    }
  }

  /** Computes a step, gives its tokens to their requests, ends outputs, and reports what happened. @param {Moves} moves @param {number[]} counts @param {number} began @returns {Iteration} */
  run(moves, counts, began) {
    const { state } = this;
    const { slots } = state;
    if (moves.seats.length) this.lastAdmission = this.iteration;
    /** @type {Step["rows"]} */
    const rows = [];
    /** @type {number[]} */
    const states = slots.map((live) => (live?.ended ? HELD : IDLE));
    for (const { slot } of moves.stalled) states[slot] = STALLED;
    slots.forEach((live, slot) => {
      if (!live || !counts[slot]) return;
      const start = state.writesAt(live);
      const count = counts[slot];
      if (!live.ended && start + count > live.capacity) state.grow(live, start + count);
      rows.push({ slot, start, count, draws: live.ended || start + count === live.known });
      states[slot] = live.ended ? HELD : start < live.seen ? RECOMPUTE : start < live.request.prompt.length ? PREFILL : DECODE;
      live.computed = start + count;
    });
    const { used, reserved } = state.memory();
    const event = {
      index: this.iteration++,
      t_start: this.now,
      t_end: this.now,
      request: slots.map((live) => live?.id ?? -1),
      state: states,
      tokens: counts,
      context: slots.map((live) => live?.computed ?? 0),
      token: slots.map(() => -1),
      allotted: slots.map((live) => live?.capacity ?? 0),
      arrived: this.arrived,
      ...{ admitted: moves.admitted, preempted: moves.preempted, stalled: moves.stalled },
      finished: /** @type {Iteration["finished"]} */ ([]),
      waiting: state.waiting.length,
      ...{ blocks_used: used, blocks_reserved: reserved, blocks_total: state.pool.blocks },
    };
    this.arrived = [];
    const tokens = this.executor.launch({ seats: moves.seats, rows });
    this.land(event, rows, tokens);
    this.now += this.clock() - began;
    event.t_end = this.now;
    const advanced = event.token.some((token) => token >= 0) || states.some((what) => what === PREFILL || what === DECODE);
    this.watch(advanced, ` iterations up to ${event.index} no request advanced, while ${waiting(event.waiting)}`);
    return event;
  }

  /** Gives the tokens to their requests and ends outputs. @param {Iteration} event @param {Step["rows"]} rows @param {number[]} tokens */
  land(event, rows, tokens) {
    rows.forEach(({ slot, draws }, row) => {
      const live = this.state.slots[slot];
      if (!live || live.ended || !draws) return;
      live.output.push(tokens[row]);
      event.token[slot] = tokens[row];
      const byEnd = this.executor.endTokens.includes(tokens[row]);
      if (!byEnd && live.output.length < live.request.max_new_tokens) return;
      live.ended = true;
      event.finished.push({ request: live.id, slot, reason: byEnd ? END : LENGTH });
    });
  }

  /** What the policy may know now. */
  view() {
    const { state } = this;
    const seated = state.slots.flatMap((live, slot) => (live ? [{ live, slot }] : []));
    const running = seated.filter(({ live }) => !live.ended).sort((a, b) => a.live.order - b.live.order);
    const finished = seated.filter(({ live }) => live.ended);
    return new View({
      iteration: this.iteration,
      now: this.now,
      slots: state.slots.length,
      waiting: state.waiting.map((live) => this.seen(live, null)),
      running: running.map(({ live, slot }) => this.seen(live, slot)),
      finished: finished.map(({ live, slot }) => this.seen(live, slot)),
      free_slots: state.slots.length - running.length,
      free_blocks: state.pool.free + finished.reduce((sum, { live }) => sum + state.pool.of(live.id), 0),
      block_size: state.pool.blockSize,
      total_blocks: state.pool.blocks,
      context_limit: this.contextLimit,
      clock: this.now,
      last_admission: this.lastAdmission,
    });
  }

  /** @param {Live} live @param {number | null} slot */
  seen(live, slot) {
    const { id, arrival, prompt, max_new_tokens } = live.request;
    return new RequestView({
      ...{ id, arrival, prompt_tokens: prompt.length, max_new_tokens, generated: live.output.length, computed: live.computed },
      ...{ slot, admitted: live.admitted, preemptions: live.preemptions, blocks: this.state.pool.of(id) },
    });
  }

  /** The watchdog: a policy that preempts everything before it advances would run for ever. @param {boolean} advanced @param {string} how */
  watch(advanced, how) {
    this.idle = advanced ? 0 : this.idle + 1;
    if (this.idle <= STUCK_AFTER) return;
    this.idle = 0;
    throw this.stuck(how.startsWith(" times") ? `: ${STUCK_AFTER}${how}` : `: for ${STUCK_AFTER}${how}`);
  }

  /** @param {string} how */
  stuck(how) {
    return new PolicyError(`policy '${this.policy.name}' is stuck${how}.`);
  }
}
