import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { laneOf, story } from "./story.mjs";

const { batchOf, batchesOf } = await load("batches");

const ROWS = [["DDDHHDDH", "00000222"], ["DDDDDDDD", "11111333"]];
const MARKS = [[1, 0, 0, 0, ""], [1, 0, 1, 1, ""], [2, 2, 0, 0, "end"], [2, 4, 1, 1, "end"], [1, 5, 2, 0, ""], [1, 5, 3, 1, ""], [2, 6, 2, 0, "end"], [2, 7, 3, 1, "end"]];

test("a batch lasts until its longest request ends, and that one holds it up", () => {
  const lane = laneOf({ rows: ROWS, marks: MARKS });
  assert.deepEqual(batchesOf(lane), [{ first: 0, end: 5, holder: 1 }, { first: 5, end: 8, holder: 3 }]);
  assert.equal(batchOf(lane, 4).holder, 1);
  assert.equal(batchOf(lane, 5).holder, 3);
});

test("the longest request of a batch is known once all have ended", () => {
  const lane = laneOf({ rows: ROWS, marks: MARKS.slice(0, -1) });
  assert.deepEqual(batchesOf(lane).map(({ holder }) => holder), [1, -1]);
});

test("a lane that refills slots one by one has no batches", () => {
  assert.deepEqual(batchesOf(story()), []);
  const marks = [[1, 0, 0, 0, ""], [1, 0, 1, 1, ""], [2, 2, 0, 0, "end"], [1, 4, 2, 0, ""]];
  assert.deepEqual(batchesOf(laneOf({ rows: [["DDDHDDDD", "00002222"], ["DDDDDDDD", "11111111"]], marks })), []);
});
