import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const { Column, lastAtMost } = await load("columns");

test("a column keeps what was pushed while it grows", () => {
  const column = new Column(Float64Array);
  for (let i = 0; i < 1000; i++) column.push(i / 8);
  assert.equal(column.length, 1000);
  assert.ok(Array.from({ length: 1000 }, (_, i) => column.at(i)).every((value, i) => value === i / 8));
});

test("the last entry that is at most a value", () => {
  const sorted = [1, 3, 3, 7];
  assert.deepEqual([0, 1, 2, 3, 6, 7, 99].map((value) => lastAtMost(sorted, value)), [-1, 0, 0, 2, 2, 3, 3]);
  assert.equal(lastAtMost([], 5), -1);
  assert.equal(lastAtMost(new Column(Int32Array).data, 5, 0), -1, "room that is not filled yet does not count");
});
