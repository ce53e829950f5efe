/* Why lanes need equally many iterations, and what to try: `cbviz/measure/ties.py`, for requests that all arrive at once. */
import { counted } from "./numbers.js";
/** @import { Text } from "../../cbviz/view/js/catalogue.js" */
/** @import { Finished } from "./verdict.js" */

/** @param {Finished[]} lanes @returns {Text} */
export function nothingToWin(lanes) {
  if (samePolicy(lanes)) return ["verdict.nothing_same_policy", { policy: lanes[0].policy }];
  const reason = noContest(lanes);
  if (reason) return reason;
  if (!sameSchedule(lanes)) return differentSchedules(lanes);
  if (lanes.every(({ policy }) => policy === lanes[0].policy)) return ["verdict.nothing_options", { policy: lanes[0].policy }];
  if (lanes.some(({ tally }) => tally.shortOfMemory)) return ["verdict.nothing_decided", {}];
  return [endedTogether(lanes[0]) ? "verdict.nothing_together" : "verdict.nothing_memory", {}];
}

/** Whether all lanes have one policy, with the same summary, and did the same. @param {Finished[]} lanes */
export function samePolicy(lanes) {
  const [first] = lanes;
  return sameSchedule(lanes) && lanes.every(({ policy, summary }) => policy === first.policy && JSON.stringify(summary) === JSON.stringify(first.summary));
}

/** Why no policy can finish these requests sooner than another; null if one could. @param {Finished[]} lanes @returns {Text | null} */
function noContest(lanes) {
  const { slots, outputs } = lanes[0];
  const requests = outputs.length;
  if (slots === 1) return ["verdict.nothing_one_slot", {}];
  if (!lanes.some(({ tally }) => tally.waited)) {
    if (requests > slots) return ["verdict.nothing_queue", {}];
    if (requests < 3) return ["verdict.nothing_requests", { n: requests, slots: counted(slots) }];
    return ["verdict.nothing_slots", { requests: counted(requests), slots: counted(slots), fewer: Math.floor((requests + 1) / 2) }];
  }
  return new Set(outputs.map((tokens) => tokens.length)).size === 1 ? ["verdict.nothing_lengths", {}] : null;
}

/** Schedules that differ and still tie: by the request that ends last, or by chance. @param {Finished[]} lanes @returns {Text} */
function differentSchedules(lanes) {
  const [last, ...others] = lanes.map(lastOf);
  if (last && others.every((other) => other && other.request === last.request && other.at === last.at)) return ["verdict.nothing_last", last];
  const [first] = lanes;
  const moved = [...first.tally.given].filter(([id, given]) => lanes.some(({ tally }) => String(tally.given.get(id)) !== String(given))).length;
  return ["verdict.nothing_even", { count: counted(moved), all: counted(first.tally.given.size) }];
}

/** The request that ended last and the iteration in which it entered; null if it paused, or several ended last. @param {Finished} lane */
function lastOf({ tally }) {
  const end = Math.max(...tally.finished.values());
  const [request, ...more] = [...tally.finished].filter(([, at]) => at === end).map(([id]) => id);
  const at = tally.admitted.get(request) ?? 0;
  return more.length || end - at + 1 !== tally.given.get(request)?.length ? null : { request, at };
}

/** Whether every request got its tokens in the same iterations in all lanes. @param {Finished[]} lanes */
function sameSchedule(lanes) {
  const schedules = lanes.map(({ tally }) => JSON.stringify([...tally.given].sort(([a], [b]) => a - b)));
  return schedules.every((schedule) => schedule === schedules[0]);
}

/** Whether no slot came free while another request ran and one waited: every batch ended as a whole. @param {Finished} lane */
function endedTogether({ tally: { admitted, finished } }) {
  const runsOn = (/** @type {number} */ end) => [...finished].some(([id, at]) => at > end && (admitted.get(id) ?? Infinity) <= end);
  return ![...finished.values()].some((end) => [...admitted.values()].some((at) => at > end) && runsOn(end));
}
