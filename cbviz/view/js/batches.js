/* The batches of a lane that keeps a batch together until its longest request ends. */

import { ADMIT } from "./states.js";

/** @import { Lane } from "./lane.js" */

/** `first` to `end` (exclusive): its iterations; `holder`: the request that ends last, for which the others' slots are held; -1 while it runs. @typedef {{first: number, end: number, holder: number}} Batch */

/** The batches found, and for how many iterations. @type {WeakMap<Lane, {n: number, batches: Batch[]}>} */
const found = new WeakMap();

/**
 * A lane's batches, in order; none for a lane that refills slots one by one, or that never held a slot.
 * @param {Lane} lane @returns {Batch[]}
 */
export function batchesOf(lane) {
  const known = found.get(lane);
  if (known?.n === lane.n) return known.batches;
  const batches = lane.held ? groups(lane) : [];
  found.set(lane, { n: lane.n, batches });
  return batches;
}

/** @param {Lane} lane @returns {Batch[]} */
function groups(lane) {
  /** @type {Batch[]} */
  const batches = [];
  let last = -1; // the end of the batch at hand
  for (const { kind, at, request } of lane.marks) {
    if (kind !== ADMIT) continue;
    const batch = batches[batches.length - 1];
    if (!batch || at > batch.first) {
      // A request that enters while another of the batch runs: this lane has no batches.
      if (batch && (batch.holder < 0 || at <= last)) return [];
      if (batch) batch.end = last + 1;
      batches.push({ first: at, end: lane.n, holder: request });
      last = -1;
    }
    const mine = batches[batches.length - 1];
    const { finished } = lane.record(request);
    if (finished < 0) mine.holder = -1;
    else if (mine.holder >= 0 && finished > last) [mine.holder, last] = [request, finished];
  }
  const batch = batches[batches.length - 1];
  if (batch && batch.holder >= 0) batch.end = last + 1;
  return batches;
}

/** The batch that an iteration belongs to. @param {Lane} lane @param {number} i */
export function batchOf(lane, i) {
  const batches = batchesOf(lane);
  if (!batches.length) return null;
  let [low, high] = [0, batches.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (batches[middle].first <= i) low = middle + 1;
    else high = middle;
  }
  return low > 0 && i < batches[low - 1].end ? batches[low - 1] : null;
}
