import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import "./page.mjs";
import { SECONDS, SET, laneOf, story } from "./story.mjs";

const { firstTokens, linePath, waitingOver } = await load("trend");

test("the queue is drawn by its highest values, the newest last", () => {
  const lane = story();
  assert.deepEqual(waitingOver(lane, 0), []);
  assert.deepEqual(waitingOver(lane, 5), [1, 1, 0, 0, 1]);
  const n = 80;
  const long = laneOf({ rows: [["D".repeat(n), "0".repeat(n)]], waiting: Array.from({ length: n }, (_, i) => (i === 33 ? 9 : 1)) });
  const drawn = waitingOver(long, n);
  assert.deepEqual([drawn.length, drawn.filter((value) => value === 9).length], [40, 1], "a peak of one iteration is not lost");
});

test("times to the first token, in the order of the first tokens, of those there are", () => {
  const lane = story({ seconds: SECONDS });
  assert.deepEqual(firstTokens(lane, 1), [0.1, 0.1]);
  assert.deepEqual(firstTokens(lane, 9).map((value) => Number(value.toFixed(6))), [0.1, 0.1, 0.5], "request 2 waited for slot 1");
});

test("a line fills its box", () => {
  assert.equal(linePath([0, 2, 1]), "M0.0 15.0L40.0 1.0L80.0 8.0");
  assert.equal(linePath([]), "");
});

test("recent counters leave out what was before", () => {
  const lane = laneOf({ rows: [["DDDDHHHH", "00000000"], ["DDDDDDDD", "11111111"]] });
  const close = ({ occupancy, wasted, rate }) => [occupancy, wasted, Math.round(rate)];
  assert.deepEqual(close(lane.recent(8, 4)), [0.5, 4, 100]);
  assert.deepEqual(close(lane.recent(8, 100)), [0.75, 4, 150]);
  assert.ok(Number.isNaN(lane.recent(0, 4).occupancy));
});

test("a lane is called by the policy that was set last, or by its own name", () => {
  const marks = [[SET, 0, -1, -1, "policy = static"], [SET, 4, -1, -1, "policy = orca"]];
  const lane = laneOf({ rows: [["DDDDDDDD", "00000000"]], marks });
  assert.deepEqual([1, 4, 5, 8].map((k) => lane.title(k)), ["static", "static", "orca", "orca"]);
  assert.equal(story().title(3), "a");
});
