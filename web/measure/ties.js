/* Why lanes need equally many iterations, and what to try: `cbviz/measure/ties.py`, for requests that all arrive at once. */
import { counted } from "./numbers.js";
/** @import { Text } from "../../cbviz/view/js/catalogue.js" */
/** @import { Finished } from "./verdict.js" */

/** @param {Finished[]} lanes @returns {Text} */
export function nothingToWin(lanes) {
  const [{ policy }] = lanes;
  if (samePolicy(lanes)) return ["verdict.nothing_same_policy", { policy, advice: advised("try_policy", ...missing(lanes)) }];
  const reason = noContest(lanes);
  if (reason) return reason;
  if (!sameSchedule(lanes)) return differentSchedules(lanes);
  if (lanes.every((lane) => lane.policy === policy)) return ["verdict.nothing_options", { policy, advice: advised("try_options") }];
  if (lanes.some(({ tally }) => tally.shortOfMemory)) return ["verdict.nothing_decided", { advice: advised("try_others") }];
  if (endedTogether(lanes[0])) return ["verdict.nothing_together", { advice: advised("try_lengths") }];
  return ["verdict.nothing_memory", { advice: advised(lanes[0].tight ? "try_others" : "try_memory") }];
}

/** The page's own control, where Python's sentence names an argument: less KV memory is one of two choices. @type {Text} */
const LESS_MEMORY = ["page.choice", { knob: ["page.memory", {}], value: ["page.tight", {}] }];

/** What to try, as the end of a line: all of it together. @param {(string | Text)[]} what keys of `verdict`, or messages @returns {Text} */
function advised(...what) {
  /** @type {Text[]} */
  const parts = what.map((one) => (typeof one === "string" ? [`verdict.${one}`, MEMORY.has(one) ? { kv_tokens: LESS_MEMORY } : {}] : one));
  return parts.length ? ["verdict.try", { what: parts.reduce((first, second) => ["verdict.try_and", { first, second }]) }] : "";
}

/** The advice that names the memory. */
const MEMORY = new Set(["try_options", "try_memory"]);

/** What has to change, all of it, before any policy could finish these requests sooner than another. @param {Finished[]} lanes @returns {(string | Text)[]} */
function missing(lanes) {
  const { slots, outputs } = lanes[0];
  const requests = outputs.length;
  const waited = lanes.some(({ tally }) => tally.waited);
  /** @type {(string | Text)[]} */
  const found = requests < 3 ? ["try_requests"] : [];
  if (slots === 1) found.push("try_slots");
  else if (!waited && requests >= 3 && requests <= slots) found.push(["verdict.try_fewer_slots", { fewer: Math.floor((requests + 1) / 2) }]);
  else if (!waited && requests > slots) found.push(slots === 2 ? "try_closer" : "try_fewer_or_closer");
  if (requests > 1 && equalLengths(lanes[0])) found.push("try_lengths");
  else if (requests === 1 && outputs[0].length <= 1) found.push("try_longer");
  return found;
}

/** @param {Finished} lane */
const equalLengths = ({ outputs }) => new Set(outputs.map((tokens) => tokens.length)).size === 1;

/** Whether all lanes have one policy, with the same summary, and did the same. @param {Finished[]} lanes */
export function samePolicy(lanes) {
  const [first] = lanes;
  return sameSchedule(lanes) && lanes.every(({ policy, summary }) => policy === first.policy && JSON.stringify(summary) === JSON.stringify(first.summary));
}

/** Why no policy can finish these requests sooner than another; null if one could. @param {Finished[]} lanes @returns {Text | null} */
function noContest(lanes) {
  const { slots, outputs } = lanes[0];
  const requests = outputs.length;
  const advice = advised(...missing(lanes));
  if (slots === 1) return ["verdict.nothing_one_slot", { advice }];
  if (!lanes.some(({ tally }) => tally.waited)) {
    if (requests > slots) return ["verdict.nothing_queue", { advice }];
    if (requests < 3) return ["verdict.nothing_requests", { n: requests, slots: counted(slots), advice }];
    return ["verdict.nothing_slots", { requests: counted(requests), slots: counted(slots), advice }];
  }
  return equalLengths(lanes[0]) ? ["verdict.nothing_lengths", { advice }] : null;
}

/** Schedules that differ and still tie: by the request that ends last, or by chance. @param {Finished[]} lanes @returns {Text} */
function differentSchedules(lanes) {
  const advice = advised("try_others"); // the page compares nothing but iterations
  const [last, ...others] = lanes.map(lastOf);
  if (last && others.every((other) => other && other.request === last.request && other.at === last.at)) return ["verdict.nothing_last", { ...last, advice }];
  const [first] = lanes;
  const moved = [...first.tally.given].filter(([id, given]) => lanes.some(({ tally }) => String(tally.given.get(id)) !== String(given))).length;
  return ["verdict.nothing_even", { count: counted(moved), all: counted(first.tally.given.size), advice }];
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
