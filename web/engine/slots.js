/* How far the request in each slot is, and what a request keeps wherever it is. */
/** @import { Request } from "../workload/task_workload.js" */

/** How an output ended. */
export const END = "end";
export const LENGTH = "length";

/** What the engine remembers of a request: in the queue, in a slot, or ended. */
export class Live {
  /** @param {Request} request */
  constructor(request) {
    this.request = request;
    this.id = request.id;
    /** @type {number[]} */
    this.output = [];
    /** Positions that were in the cache once, before a preemption discarded them. */
    this.seen = 0;
    this.preemptions = 0;
    /** Iteration of its last admission. @type {number | null} */
    this.admitted = null;
    this.ended = false;
    /** What is in the cache, and for how many positions its blocks have room; 0 while it waits. */
    this.computed = 0;
    this.capacity = 0;
    /** Running number of its last admission. */
    this.order = 0;
  }

  /** Tokens known so far: the prompt and the output. */
  get known() {
    return this.request.prompt.length + this.output.length;
  }

  /** The most positions that it can need. */
  get most() {
    return this.request.prompt.length + this.request.max_new_tokens;
  }
}
