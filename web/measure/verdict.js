/* What a finished race says: `cbviz/measure/verdict.py`, for one run of each lane. Counts come first, then seconds. */
import { cause, wasted } from "./causes.js";
import { counted, ratioOf, twoDigits } from "./numbers.js";
import { nothingToWin, samePolicy } from "./ties.js";
/** @import { Text } from "../../cbviz/view/js/catalogue.js" */
/** @import { Tally } from "./tally.js" */

/** A lane that has served everything; `outputs` are the tokens of each request, in the same order in every lane. @typedef {{name: string, policy: string, summary: Text, slots: number, tight?: boolean, tally: Tally, outputs: number[][]}} Finished */
/** A lane's iterations and its place, from 1; lanes that tie share one. @typedef {{lane: Finished, place: number}} Standing */
/** What the board shows: `RaceVerdict` of Python. @typedef {{headline: Text | null, beside: Text | null, lines: Text[], timed: boolean}} RaceVerdict */

/** Seconds. A shorter run is over before its time means anything. */
const SHORTEST_RUN = 1;

/** @param {Finished[]} lanes at least one @returns {RaceVerdict} */
export function verdict(lanes) {
  const timed = lanes.every(({ tally }) => tally.seconds >= SHORTEST_RUN);
  if (lanes.length === 1) return alone(lanes[0], timed);
  const ranking = standings(lanes);
  const leaders = ranking.filter(({ place }) => place === 1);
  const last = ranking.filter(({ place }) => place === ranking[ranking.length - 1].place);
  const even = leaders.length === ranking.length;
  const why = even ? null : cause(last[0].lane, leaders[0].lane);
  const behind = lanes.length > 2 && !even ? line("verdict.behind_iterations", { lanes: joined(ranking.slice(leaders.length).map(then)) }) : null;
  const nothing = even || samePolicy(lanes) ? nothingToWin(lanes) : null;
  const beside = behind ?? (lanes.length === 2 ? why : null) ?? (even ? nothing : null);
  const lines = [...ratio(leaders, last, even), ...(why && why !== beside ? [why] : []), ...seconds(lanes, timed), ...(nothing && nothing !== beside ? [nothing] : []), ...answers(lanes)];
  return { headline: headline(lanes, leaders, even), beside, lines, timed };
}

/** One lane: what it did, in counts. @param {Finished} lane @param {boolean} timed @returns {RaceVerdict} */
function alone(lane, timed) {
  const { tally, outputs, name } = lane;
  const all = Object.values(tally.use).reduce((sum, n) => sum + n, 0);
  const tokens = outputs.reduce((sum, given) => sum + given.length, 0);
  const did = { requests: counted(outputs.length), tokens: counted(tokens), useful: counted(tally.use.prefill + tally.use.decode), slots: counted(all) };
  return { headline: line("verdict.best_iterations", { policy: name, ...iterationsOf(lane) }), beside: line("verdict.one_did", did), lines: [...wasted(lane), ...seconds([lane], timed)], timed };
}

/** A number of iterations as facts; `n` chooses singular or plural. @param {Finished} lane */
const iterationsOf = ({ tally }) => ({ n: tally.iterations === 1 ? 1 : 2, count: counted(tally.iterations) });

/** How many requests have the same answer in every lane. @param {Finished[]} lanes */
export function identical(lanes) {
  const [first, ...others] = lanes.map(({ outputs }) => outputs.map((tokens) => tokens.join(" ")));
  return first.filter((answer, i) => others.every((other) => other[i] === answer)).length;
}

/** @param {string} key @param {Record<string, any>} [facts] @returns {Text} */
const line = (key, facts = {}) => [key, facts];

/** A list in the reader's language. @param {Text[]} parts @returns {Text} */
const joined = (parts) => parts.reduce((first, second) => line("verdict.listed", { first, second }));

/** @param {Standing} standing @returns {Text} */
const then = ({ lane }) => line("verdict.then", { policy: lane.name, value: counted(lane.tally.iterations) });

/** The lanes, the fewest iterations first; lanes that tie keep the order of the race. @param {Finished[]} lanes @returns {Standing[]} */
function standings(lanes) {
  const order = [...lanes].sort((a, b) => a.tally.iterations - b.tally.iterations);
  return order.map((lane) => ({ lane, place: 1 + order.findIndex((other) => other.tally.iterations === lane.tally.iterations) }));
}

/** @param {Finished[]} lanes @param {Standing[]} leaders @param {boolean} even @returns {Text} */
function headline(lanes, leaders, even) {
  const number = iterationsOf(leaders[0].lane);
  if (even) return line("verdict.every_iterations", number);
  if (lanes.length === 2) return line("verdict.pair_iterations", { first: counted(lanes[0].tally.iterations), last: counted(lanes[1].tally.iterations) });
  return line("verdict.best_iterations", { policy: joined(leaders.map(({ lane }) => lane.name)), ...number });
}

/** The ratio of the most iterations to the fewest. @param {Standing[]} leaders @param {Standing[]} last @param {boolean} even @returns {Text[]} */
function ratio(leaders, last, even) {
  const times = even ? "1.00" : ratioOf(last[0].lane.tally.iterations / leaders[0].lane.tally.iterations);
  if (times === "1.00") return [];
  const names = (/** @type {Standing[]} */ some) => joined(some.map(({ lane }) => lane.name));
  return [line(leaders.length === 1 ? "verdict.ratio" : "verdict.ratio_tied", { worse: names(last), better: names(leaders), times })];
}

/** What one run can say about time. @param {Finished[]} lanes @param {boolean} timed @returns {Text[]} */
function seconds(lanes, timed) {
  if (lanes.some(({ tally }) => tally.seconds <= 0)) return [];
  const n = lanes.length;
  if (!timed) return [line("verdict.too_short", { n })];
  const words = lanes.map(({ name, tally }) => line("verdict.lane_seconds", { policy: name, seconds: twoDigits(tally.seconds) }));
  return [line("verdict.timed_turns", { n, lanes: joined(words) }), ...(n > 1 ? [line("verdict.clock_lane")] : [])];
}

/** Whether the lanes agree. @param {Finished[]} lanes @returns {Text[]} */
function answers(lanes) {
  const all = lanes[0].outputs.length;
  const same = identical(lanes);
  if (same === all) return [line("verdict.same", { n: all, count: counted(all) })];
  return [line("verdict.differ", { n: all - same, count: counted(all - same), all: counted(all) }), line("verdict.differ_see")];
}
