import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { story } from "./story.mjs";

const { Queue } = await load("queue");

test("the queue at any moment, preempted requests first", () => {
  const { queue } = story();
  assert.deepEqual(queue.waiting(1, 9), [{ request: 2, again: false, from: 0 }]);
  assert.deepEqual(queue.waiting(3, 9), []);
  assert.deepEqual(queue.waiting(5, 9), [{ request: 2, again: true, from: 4 }]);
  assert.deepEqual(queue.waiting(7, 9), []);
});

test("the newest preempted request is first in line, then the others by arrival, up to a limit", () => {
  const queue = new Queue();
  for (const id of [0, 1, 2, 3, 4]) queue.enter(id, id, false);
  queue.leave(0, 5);
  queue.leave(1, 5);
  queue.enter(0, 7, true);
  queue.enter(1, 8, true);
  queue.leave(9, 8); // never waited
  const order = (k, limit = 9) => queue.waiting(k, limit).map(({ request }) => request);
  assert.deepEqual(order(0), []);
  assert.deepEqual(order(3), [0, 1, 2]);
  assert.deepEqual(order(6), [2, 3, 4]);
  assert.deepEqual(order(9), [1, 0, 2, 3, 4]);
  assert.deepEqual(order(9, 3), [1, 0, 2]);
});
