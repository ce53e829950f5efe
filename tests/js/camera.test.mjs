import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { SECONDS, storyRun } from "./story.mjs";

const { Camera, SETTLE } = await load("camera");
const { Playhead } = await load("playhead");

function camera(live = false, options = {}) {
  const made = new Camera(new Playhead(storyRun(options), () => live, true));
  made.measure(600);
  return made;
}

test("all of a recorded run is in sight, and of a live one with room ahead", () => {
  const recorded = camera();
  assert.equal(recorded.axis.start, 0);
  assert.ok(Math.abs(recorded.axis.x(10) - 600 / 1.015) < 1e-9);
  assert.equal(camera(true).axis.x(60), 600, "sixty iterations at first");
});

test("zooming keeps the place, within limits, and ends fitting", () => {
  const view = camera();
  const before = view.axis.value(200);
  assert.equal(view.zoom(1.5, 200), true);
  assert.ok(Math.abs(view.axis.value(200) - before) < 1e-9);
  assert.equal(view.fitted, false);
  for (let k = 0; k < 50; k++) view.zoom(2, 0);
  assert.equal(view.axis.scale, 60, "an iteration is never wider");
  for (let k = 0; k < 50; k++) view.zoom(0.5, 0);
  assert.equal(view.axis.scale, 600 / 20, "nor much more in sight than the run");
  view.fitted = true;
  view.measure(600);
  assert.ok(Math.abs(view.axis.x(10) - 600 / 1.015) < 1e-9);
});

test("before it is measured there is nothing to zoom", () => {
  assert.equal(new Camera(new Playhead(storyRun({}), () => false, true)).zoom(2), false);
});

test("panning moves by whole px, and some of the run stays in sight", () => {
  const view = camera();
  view.zoom(4, 0);
  const { scale } = view.axis;
  view.pan(37.3);
  assert.ok(Math.abs(view.axis.start * scale - 37) < 1e-9);
  view.pan(1e6);
  assert.ok(view.axis.x(10) > 0);
  view.pan(-1e6);
  assert.ok(view.axis.x(0) < 600);
});

test("the cursor is kept in sight when zoomed, and nothing moves when fitted", () => {
  const view = camera();
  view.time.moveTo(9);
  const fitted = view.axis;
  view.reveal();
  assert.equal(view.axis, fitted);
  view.zoom(1e9, 0);
  view.pan(-1e6);
  view.time.moveTo(10);
  view.axis.start = -100;
  view.reveal();
  assert.ok(Math.abs(view.axis.x(10) - 450) < 1e-9, "three quarters to the right");
});

test("the other axis shows the same stretch of the run", () => {
  const view = camera(false, { seconds: SECONDS });
  view.zoom(3, 0);
  const last = view.axis.value(600);
  view.setMode("seconds");
  view.time.setMode("seconds");
  view.measure(600);
  const lane = view.time.guide();
  assert.ok(Math.abs(lane.secondsAt(Math.floor(last)) - view.axis.value(600)) < 0.5);
  assert.equal(view.axis.mode, "seconds");
  assert.equal(view.fitted, false);
});

test("it moves until it has settled", () => {
  const view = camera();
  assert.equal(view.moves(), false);
  view.zoom(2, 0);
  assert.equal(view.moves(view.movedAt + SETTLE - 1), true);
  assert.equal(view.moves(view.movedAt + SETTLE + 1), false);
});
