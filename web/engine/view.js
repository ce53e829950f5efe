/* What a policy sees: `RequestView` and `View` of `cbviz/policies/policy_view.py`, with the same names. A view is a value: frozen. */
import { reason } from "./reason.js";
/** @import { Reason } from "./reason.js" */

/** One request as a scheduler sees it. */
export class RequestView {
  /**
   * @param {{id: number, arrival: number, prompt_tokens: number, max_new_tokens: number, generated?: number, computed?: number,
   *   slot?: number | null, admitted?: number | null, preemptions?: number, blocks?: number}} fields
   */
  constructor({ id, arrival, prompt_tokens, max_new_tokens, generated = 0, computed = 0, slot = null, admitted = null, preemptions = 0, blocks = 0 }) {
    this.id = id;
    this.arrival = arrival;
    this.prompt_tokens = prompt_tokens;
    this.max_new_tokens = max_new_tokens;
    /** Output tokens so far. */
    this.generated = generated;
    /** Positions with keys and values in the cache. */
    this.computed = computed;
    /** Its slot, null while it waits. */
    this.slot = slot;
    /** The iteration that (last) admitted it, null before its first admission. */
    this.admitted = admitted;
    /** How often it lost its slot. */
    this.preemptions = preemptions;
    /** KV blocks that it holds. */
    this.blocks = blocks;
    Object.freeze(this);
  }

  /** Tokens known so far: the prompt and the output. */
  get known() {
    return this.prompt_tokens + this.generated;
  }

  /** Tokens that it must take in before its next output token: 1 in decode, more in prefill. */
  get lacks() {
    return this.known - this.computed;
  }

  /** The most positions that it can ever need: prompt + max_new_tokens. */
  get most() {
    return this.prompt_tokens + this.max_new_tokens;
  }

  /** Blocks that become free if it leaves. */
  get frees() {
    return this.blocks;
  }
}

/** Everything that a policy may know before an iteration. */
export class View {
  /**
   * @param {{iteration: number, now: number, slots: number, waiting: RequestView[], running: RequestView[], finished: RequestView[],
   *   free_slots: number, free_blocks: number, block_size: number, total_blocks: number, context_limit: number, clock: number,
   *   last_admission: number | null}} fields
   */
  constructor(fields) {
    /** Index of the iteration to be planned. */
    this.iteration = fields.iteration;
    /** Seconds on the lane's clock. */
    this.now = fields.now;
    this.slots = fields.slots;
    /** The queue: preempted requests first, then the others by arrival. */
    this.waiting = Object.freeze(fields.waiting);
    /** Requests in a slot whose output has not ended, in order of admission. */
    this.running = Object.freeze(fields.running);
    /** Requests in a slot whose output has ended. Unless the plan holds them, they leave before any request is admitted. */
    this.finished = Object.freeze(fields.finished);
    /** Slots and blocks for admissions, those of `finished` included. */
    this.free_slots = fields.free_slots;
    this.free_blocks = fields.free_blocks;
    this.block_size = fields.block_size;
    this.total_blocks = fields.total_blocks;
    this.context_limit = fields.context_limit;
    this.clock = fields.clock;
    this.last_admission = fields.last_admission;
    Object.freeze(this);
  }

  /** Blocks that become free when a request leaves. @param {RequestView} request */
  freed_by(request) {
    return request.frees;
  }

  /** Blocks that hold this many positions. @param {number} positions */
  blocks_for(positions) {
    return Math.ceil(positions / this.block_size);
  }

  /** Further blocks that a request needs to take in this many tokens. @param {RequestView} request @param {number} tokens */
  blocks_lacking(request, tokens) {
    return Math.max(0, this.blocks_for(request.computed + tokens) - request.blocks);
  }

  /** Free blocks that a request takes to have room for this many positions. @param {RequestView} request @param {number} positions */
  blocks_taken(request, positions) {
    return Math.max(0, this.blocks_for(positions) - request.blocks);
  }

  /** Ids from the front of the queue that fit now, each with room for all that it can ever need; no request is overtaken. @returns {number[]} */
  fitting() {
    /** @type {number[]} */
    const ids = [];
    let blocks = this.free_blocks;
    for (const request of this.waiting) {
      blocks -= this.blocks_taken(request, request.most);
      if (ids.length === this.free_slots || blocks < 0) break;
      ids.push(request.id);
    }
    return ids;
  }

  /** Puts off the first request behind the admitted front of the queue. @param {Reason} why @param {readonly unknown[]} [admitted] @returns {Map<number, Reason>} */
  closed(why, admitted = []) {
    return new Map(this.waiting.slice(admitted.length, admitted.length + 1).map(({ id }) => [id, why]));
  }

  /** Puts off the request at which `fitting()` stopped for lack of blocks. @param {readonly number[]} fitting @returns {Map<number, Reason>} */
  misfit(fitting) {
    const n = fitting.length;
    if (n === this.free_slots || n === this.waiting.length) return new Map();
    const taken = this.waiting.slice(0, n).reduce((sum, request) => sum + this.blocks_taken(request, request.most), 0);
    const first = this.waiting[n];
    return new Map([[first.id, reason("lacks_blocks", { needed: this.blocks_taken(first, first.most), free: Math.max(0, this.free_blocks - taken) })]]);
  }
}
