import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { SECONDS, story } from "./story.mjs";

const { Axis, convert, ticks, tickStep, zoomed } = await load("axis");

test("an axis maps both ways, and zooming keeps the place under the pointer", () => {
  const axis = new Axis("iterations", 10, 4);
  assert.equal(axis.x(12), 8);
  assert.equal(axis.value(8), 12);
  const near = zoomed(axis, 100, 2, 0.1, 50);
  assert.equal(near.scale, 8);
  assert.ok(Math.abs(near.value(100) - axis.value(100)) < 1e-9);
  assert.equal(zoomed(axis, 0, 1000, 0.1, 50).scale, 50);
  assert.equal(zoomed(axis, 0, 1e-9, 0.1, 50).scale, 0.1);
});

test("ticks are round numbers with room between them", () => {
  assert.deepEqual(ticks(new Axis("iterations", 0, 8), 500), [0, 10, 20, 30, 40, 50, 60]);
  assert.deepEqual(ticks(new Axis("iterations", 3, 80), 200), [3, 4, 5]);
  const fine = ticks(new Axis("seconds", 0, 1000), 400);
  assert.ok(fine.every((value, k) => Math.abs(value - k * 0.1) < 1e-9), String(fine));
  assert.deepEqual([1, 10, 100, 1000].map((scale) => tickStep(scale, 74, true)), [100, 10, 1, 1], "never less than an iteration");
});

test("cursor values map between iterations and seconds and back, also with gaps between iterations", () => {
  const lane = story({ seconds: SECONDS });
  for (const k of [0, 1, 2.5, 7, 9.25, 10]) {
    const there = convert(lane, k, "iterations", "seconds");
    assert.ok(Math.abs(convert(lane, there, "seconds", "iterations") - k) < 1e-9, String(k));
  }
  assert.equal(convert(lane, 3, "iterations", "seconds"), 0.5);
  assert.equal(lane.iterationsAt(0.5), 3);
  assert.equal(lane.iterationsAt(0.49), 2);
});

test("edges and pitch of iterations on both axes", () => {
  const lane = story({ seconds: SECONDS });
  const [whole, time] = [new Axis("iterations", 0, 10), new Axis("seconds", 0, 100)];
  assert.deepEqual([whole.left(lane, 3), whole.right(lane, 3)], [30, 30]);
  assert.deepEqual([time.left(lane, 3), time.right(lane, 3), time.left(lane, 99)], [50, 50, 200]);
  assert.deepEqual([whole.iteration(lane, 35), time.iteration(lane, 35), time.iteration(lane, -1)], [3, 2, -1]);
  assert.deepEqual([whole.pitch(lane), time.pitch(lane)], [10, 20]);
});
