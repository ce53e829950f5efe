/* Orca (OSDI'22, §3.1, algorithm 1): iteration-level scheduling that reserves the memory of a request before it starts. */
import { reason } from "./reason.js";
/** @import { Admit } from "./plan.js" */
/** @import { Reason } from "./reason.js" */
/** @import { View } from "./view.js" */

/** Selects requests in order of arrival, each with room for prompt + max_new_tokens, up to the first that does not fit. */
export class Orca {
  name = "orca";
  summary = ["policy.orca.declared", {}];

  /** @param {View} view */
  plan(view) {
    /** @type {Omit<Admit, "reason">[]} */
    const admit = [];
    /** @type {Map<number, Reason>} */
    const put_off = new Map();
    let blocks = view.free_blocks;
    for (const request of view.waiting) {
      const reserve = Math.min(request.most, view.context_limit);
      const needed = view.blocks_taken(request, reserve);
      if (admit.length === view.free_slots) break;
      if (needed > blocks) {
        put_off.set(request.id, reason("lacks_blocks_reserved", { needed, free: blocks }));
        break;
      }
      blocks -= needed;
      admit.push({ request: request.id, reserve });
    }
    return { admit, put_off };
  }
}
