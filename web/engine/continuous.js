/* Continuous batching: requests may join and leave the batch at every iteration (iteration-level scheduling: Orca, OSDI'22, §3.1). */
/** @import { View } from "./view.js" */

/** Refills every free slot before every iteration, first come first served. */
export class Continuous {
  name = "continuous";
  summary = ["policy.continuous.summary", {}];

  /** @param {View} view */
  plan(view) {
    const admit = view.fitting();
    return { admit, put_off: view.misfit(admit) };
  }
}
