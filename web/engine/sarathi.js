/* Sarathi-Serve (OSDI'24, §4.2, algorithm 3): stall-free batching. Every decode runs in every iteration; chunks of prompts fill the rest. */
import { NO_BLOCK, PREEMPTING, lacksBlocks, reason } from "./reason.js";
/** @import { Admit } from "./plan.js" */
/** @import { Reason } from "./reason.js" */
/** @import { RequestView, View } from "./view.js" */

const NO_BUDGET_BESIDE_DECODES = reason("no_budget_beside_decodes");

/** First all decodes, then the prompts that have begun, then new ones, in chunks that fill the token budget. */
export class Sarathi {
  name = "sarathi";

  /** @param {{chunk_size?: number, watermark?: number}} [options] */
  constructor({ chunk_size = 512, watermark = 0.01 } = {}) {
    this.chunk_size = chunk_size;
    this.watermark = watermark;
    this.summary = ["policy.sarathi.summary", { tokens: chunk_size }];
  }

  /** @param {View} view */
  plan(view) {
    const { preempt, prefills, free, left } = this.decodes(view);
    let budget = left;
    /** @type {Map<number, number>} */
    const chunk = new Map();
    /** @type {Map<number, Reason>} */
    const pause = new Map();
    for (const request of prefills) {
      if (budget < 1) {
        pause.set(request.id, NO_BUDGET_BESIDE_DECODES);
        continue;
      }
      const n = Math.min(request.lacks, budget);
      budget -= n;
      if (n < request.lacks) chunk.set(request.id, n);
    }
    if (preempt.size) return { preempt, pause, chunk, put_off: view.closed(PREEMPTING) };
    return { ...this.admit(view, budget, free, chunk), pause };
  }

  /** Every decode, oldest first: one that needs a block when none is free preempts the newest behind it, or itself. @param {View} view */
  decodes(view) {
    let free = view.free_blocks;
    let left = this.chunk_size;
    /** @type {Map<number, Reason>} */
    const preempt = new Map();
    /** @type {RequestView[]} */
    const prefills = [];
    const behind = [...view.running];
    for (let request = behind.shift(); request; request = behind.shift()) {
      if (request.lacks > 1) {
        prefills.push(request);
        continue;
      }
      const needed = view.blocks_lacking(request, 1);
      while (needed > free && behind.length) {
        const newest = /** @type {RequestView} */ (behind.pop());
        free += view.freed_by(newest);
        preempt.set(newest.id, reason("blocks_needed_by", { request: request.id }));
      }
      if (needed > free) {
        free += view.freed_by(request);
        preempt.set(request.id, NO_BLOCK);
      } else {
        left -= 1;
        free -= needed;
      }
    }
    return { preempt, prefills, free, left };
  }

  /** New requests, each with blocks for all tokens that it has. @param {View} view @param {number} budget @param {number} free @param {Map<number, number>} chunk */
  admit(view, budget, free, chunk) {
    /** @type {Omit<Admit, "reason">[]} */
    const admit = [];
    /** @type {Map<number, Reason>} */
    const put_off = new Map();
    const keptFree = Math.trunc(this.watermark * view.total_blocks);
    for (const request of view.free_slots ? view.waiting : []) {
      if (admit.length === view.free_slots) break;
      if (budget < 1) {
        put_off.set(request.id, reason("budget_spent", { budget: this.chunk_size }));
        break;
      }
      const needed = view.blocks_taken(request, request.known);
      const kept = view.running.length || admit.length ? keptFree : 0;
      if (needed + kept > free) {
        put_off.set(request.id, lacksBlocks(needed, free, request.known, kept));
        break;
      }
      free -= needed;
      admit.push({ request: request.id, reserve: request.known });
      const n = Math.min(request.lacks, budget);
      budget -= n;
      if (n < request.lacks) chunk.set(request.id, n);
    }
    return { admit, chunk, put_off };
  }
}
