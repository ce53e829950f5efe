/* Static batching: fill all slots, run the whole batch to its end, then fill them again (request-level scheduling: Orca, OSDI'22, §2). */
import { reason } from "./reason.js";
/** @import { View } from "./view.js" */

const UNTIL_LONGEST = reason("batch_runs_longest");

/** Admits only into an empty engine, and runs until the longest request of the batch has ended. */
export class Static {
  name = "static";
  summary = ["policy.static.summary", {}];

  /** @param {View} view */
  plan(view) {
    if (view.running.length) return { hold: "all", put_off: view.closed(UNTIL_LONGEST) };
    const admit = view.fitting();
    return { admit, put_off: view.misfit(admit) };
  }
}
