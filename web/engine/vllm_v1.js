/* vLLM's current scheduler (`v1/core/sched/scheduler.py`): one token budget an iteration and no phases; a prompt just lacks more tokens. */
import { NO_BLOCK, PREEMPTING, lacksBlocks, reason } from "./reason.js";
/** @import { Admit } from "./plan.js" */
/** @import { Reason } from "./reason.js" */
/** @import { RequestView, View } from "./view.js" */

const NO_BUDGET = reason("no_budget");

/** Spends the budget on running requests first, preempting the newest where no block is free, then on new ones; cuts prompts to what is left. */
export class VllmV1 {
  name = "vllm_v1";

  /** @param {{max_num_batched_tokens?: number, long_prefill_token_threshold?: number}} [options] */
  constructor({ max_num_batched_tokens = 2048, long_prefill_token_threshold = 0 } = {}) {
    this.max_num_batched_tokens = max_num_batched_tokens;
    this.long_prefill_token_threshold = long_prefill_token_threshold;
    this.summary = ["policy.vllm_v1.summary", { tokens: max_num_batched_tokens }];
  }

  /** @param {View} view */
  plan(view) {
    let budget = this.max_num_batched_tokens;
    let free = view.free_blocks;
    const running = [...view.running];
    /** @type {Map<number, number>} */
    const tokens = new Map();
    /** @type {Map<number, number>} */
    const blocks = new Map();
    /** @type {Map<number, Reason>} */
    const preempt = new Map();
    for (const request of view.running) {
      if (preempt.has(request.id)) continue;
      const n = Math.min(this.wanted(request), budget);
      const needed = view.blocks_lacking(request, n);
      while (needed > free && !preempt.has(request.id)) {
        const victim = /** @type {RequestView} */ (running.pop());
        preempt.set(victim.id, victim === request ? NO_BLOCK : reason("blocks_needed_by", { request: request.id }));
        free += view.freed_by(victim) + (blocks.get(victim.id) ?? 0);
        budget += tokens.get(victim.id) ?? 0;
      }
      if (preempt.has(request.id)) continue;
      budget -= n;
      free -= needed;
      tokens.set(request.id, n);
      blocks.set(request.id, needed);
    }
    const admitted = preempt.size ? { admit: [], chunk: new Map(), put_off: view.closed(PREEMPTING) } : this.admit(view, budget, free);
    const { chunk } = admitted;
    /** @type {Map<number, Reason>} */
    const pause = new Map();
    for (const request of running) {
      const n = tokens.get(request.id) ?? 0;
      if (!n) pause.set(request.id, NO_BUDGET);
      else if (n < request.lacks) chunk.set(request.id, n);
    }
    return { ...admitted, preempt, pause };
  }

  /** New requests from the front of the queue, each with a chunk of what is left of the budget. @param {View} view @param {number} budget @param {number} free */
  admit(view, budget, free) {
    /** @type {Omit<Admit, "reason">[]} */
    const admit = [];
    /** @type {Map<number, number>} */
    const chunk = new Map();
    /** @type {Map<number, Reason>} */
    const put_off = new Map();
    for (const request of view.waiting) {
      const n = Math.min(this.wanted(request), budget);
      if (admit.length === view.free_slots) break;
      if (n === 0) {
        put_off.set(request.id, reason("budget_spent", { budget: this.max_num_batched_tokens }));
        break;
      }
      const mustBeFree = view.blocks_taken(request, request.known);
      if (mustBeFree > free) {
        put_off.set(request.id, lacksBlocks(mustBeFree, free, request.known));
        break;
      }
      budget -= n;
      free -= view.blocks_lacking(request, n);
      admit.push({ request: request.id, reserve: request.computed + n });
      if (n < request.lacks) chunk.set(request.id, n);
    }
    return { admit, chunk, put_off };
  }

  /** @param {RequestView} request */
  wanted(request) {
    const threshold = this.long_prefill_token_threshold;
    return threshold ? Math.min(request.lacks, threshold) : request.lacks;
  }
}
