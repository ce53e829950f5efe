import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { ADMIT, CANCEL, PREEMPT, SECONDS, storyRun } from "./story.mjs";

const { PACE, Playhead } = await load("playhead");

const recorded = (...options) => new Playhead(storyRun(...(options.length ? options : [{}])), () => false, true);

test("it follows the end until it is moved, and again once it is back there", () => {
  const time = recorded();
  assert.deepEqual([time.now(), time.follow, time.atEnd()], [10, true, true]);
  time.moveTo(3.4);
  assert.deepEqual([time.now(), time.follow, time.shown(time.run.lanes[0])], [3.4, false, 3]);
  time.moveTo(3.6, true);
  assert.equal(time.now(), 4);
  time.moveTo(-5);
  assert.equal(time.now(), 0);
  time.moveTo(99);
  assert.deepEqual([time.now(), time.follow], [10, true]);
});

test("playing moves on with the page's time, in iterations, and stops at the end", () => {
  const time = recorded();
  time.play();
  assert.deepEqual([time.now(), time.playing], [0, true], "from the beginning, because it was at the end");
  time.tick(1000);
  assert.equal(time.now(), 0, "the first frame only starts the clock");
  time.tick(1050);
  assert.ok(Math.abs(time.now() - 0.05 * PACE) < 1e-9);
  time.tick(9000);
  assert.ok(Math.abs(time.now() - 0.15 * PACE) < 1e-9, "a page that slept does not jump");
  time.speed = 64;
  time.tick(9100);
  time.tick(9200);
  assert.deepEqual([time.now(), time.playing, time.follow], [10, false, true]);
});

test("in seconds an average iteration takes as long as it does in iterations", () => {
  const time = recorded({ seconds: SECONDS });
  time.setMode("seconds");
  assert.ok(Math.abs(time.pace() - PACE * 0.2) < 1e-9);
  assert.equal(time.extent(), 2);
});

test("a pause keeps the place", () => {
  const time = recorded();
  assert.equal(time.pause(), false);
  time.moveTo(4);
  time.play();
  time.tick(100);
  time.tick(200);
  assert.equal(time.pause(), true);
  assert.ok(Math.abs(time.now() - 5) < 1e-9);
});

test("steps lead to whole iterations on both axes", () => {
  const time = recorded({ seconds: SECONDS });
  time.moveTo(3.5);
  assert.deepEqual([time.stepTo(1, 1), time.stepTo(-1, 1), time.stepTo(1, 10)], [4, 3, 13]);
  time.setMode("seconds");
  assert.ok(Math.abs(time.now() - 0.55) < 1e-9, "the place is kept");
  assert.deepEqual([time.stepTo(1, 1), time.stepTo(-1, 1), time.stepTo(1, 99)], [0.6, 0.15, 2]);
});

test("jumps find the nearest mark of any lane", () => {
  const time = recorded({}, { marks: [[0, 0, 0, -1], [ADMIT, 5, 0, 0]] });
  time.moveTo(1);
  assert.equal(time.nearest(ADMIT, 1), 3);
  time.moveTo(3);
  assert.deepEqual([time.nearest(ADMIT, 1), time.nearest(ADMIT, -1), time.nearest(PREEMPT, 1), time.nearest(CANCEL, 1)], [6, 1, 5, null]);
});

test("a run without lanes has no time, and nothing breaks", () => {
  const time = new Playhead({ lanes: [] }, () => true, true);
  assert.deepEqual([time.extent(), time.now(), time.unit(), time.nearest(ADMIT, 1)], [0, 0, 1, null]);
  time.setMode("seconds");
  assert.equal(time.stepTo(1, 1), null);
});
