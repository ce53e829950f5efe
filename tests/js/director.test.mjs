import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { laneOf, storyRun } from "./story.mjs";

const { Axis } = await load("axis");
const { Camera } = await load("camera");
const { Director, OPEN, TAKES, script } = await load("director");
const { Playhead } = await load("playhead");
const { Run } = await load("run");
const { View } = await load("view");

/** Seconds that a script takes from the first iteration to the last. */
function seconds(n, refill) {
  const pace = script(n, refill);
  let time = 0;
  for (let c = 0; c < n; c += 0.05) time += 0.05 / pace(c);
  return time;
}

/** A run of one lane with a given number of iterations, whose slot 1 changes hands at iteration 6. */
function long(n) {
  const run = new Run();
  run.setLanes([{ name: "a", slots: 2 }]);
  const marks = [[0, 0, 0, -1], [0, 0, 1, -1], [0, 0, 2, -1], [1, 0, 0, 0, ""], [1, 0, 1, 1, ""], [2, 5, 1, 1, "end"], [1, 6, 2, 1, ""]].filter(([, at]) => at < n);
  run.lanes[0] = laneOf({ rows: [["D".repeat(n), "0".repeat(n)], ["D".repeat(n), "1".repeat(Math.min(n, 6)) + "2".repeat(Math.max(0, n - 6))]], marks });
  return run;
}

test("a run of any length takes about twenty seconds, a short one less", () => {
  for (const [n, refill] of [[288, 8], [970, 9], [10_000, 30], [10_000, -1], [400, 200]]) assert.ok(Math.abs(seconds(n, refill) - TAKES) < 1, `${n}, ${refill}: ${seconds(n, refill)}`);
  assert.ok(seconds(11, 3) < 10);
  assert.ok(seconds(11, 3) > 4);
});

test("it is slowest at the first refill, and never slower afterwards than before", () => {
  const pace = script(970, 9);
  const around = pace(9);
  for (const c of [0, 4, 12, 100, 969]) assert.ok(pace(c) > 1.5 * around, String(c));
  for (let c = 12; c < 960; c += 10) assert.ok(pace(c + 10) >= pace(c));
});

test("the first slot that changes hands is found where others run on, and not between batches", () => {
  assert.deepEqual(long(20).lanes[0].refill, { at: 6, slot: 1, request: 2, replaced: 1 });
  const rows = [["DDDHHD", "000002"], ["DDDDDD", "111113"]];
  const marks = [[1, 0, 0, 0, ""], [1, 0, 1, 1, ""], [2, 2, 0, 0, "end"], [2, 4, 1, 1, "end"], [1, 5, 2, 0, ""], [1, 5, 3, 1, ""]];
  assert.equal(laneOf({ rows, marks }).refill, null);
});

/** Plays a view of a run frame by frame: `until` seconds of the page, or its end. */
function play(run, { still = false, status = null } = {}) {
  const state = { status, actions: [], knobs: [], refusal: "" };
  const view = new View(run, { changed() {}, tell() {}, still: () => still }, { host: status && { state: () => state, send() {} }, follow: status !== null });
  view.camera.measure(600);
  if (!status) view.play();
  let ms = 1000;
  const frames = (seconds) => {
    for (let k = 0; k < seconds * 60; k++) {
      view.tick((ms += 1000 / 60));
      view.camera.measure(600);
    }
    return { at: view.time.now(), columns: view.inSight(), x: view.camera.axis.x(view.time.now()) };
  };
  return { view, frames, state };
}

test("the camera opens near, keeps the cursor in sight, and ends with the whole run", () => {
  const { view, frames } = play(long(2000));
  assert.ok(Math.abs(frames(0.2).columns - OPEN) < 0.01);
  let [before, captions] = [0, 0];
  for (let k = 0; k < 210; k++) {
    const seen = frames(0.1);
    assert.ok(seen.x >= 0 && seen.x <= 600, `the cursor at ${seen.x}`);
    assert.ok(seen.at >= before);
    before = seen.at;
    if (view.caption()) captions++;
  }
  assert.ok(captions > 15 && captions < 60, `the caption is there for ${captions / 10} s`);
  assert.equal(view.time.playing, false);
  assert.ok(frames(2).columns >= 2000);
  assert.equal(view.camera.fitted, true);
});

test("any touch hands the camera over, and the viewer may give it back", () => {
  for (const touch of [(view) => view.zoom(1.2), (view) => view.pan(5), (view) => view.fit(), (view) => view.moveTo(3), (view) => view.step(1)]) {
    const { view, frames } = play(long(300));
    frames(1);
    touch(view);
    view.camera.measure(600);
    assert.equal(view.director.directs, false);
    const { axis } = view.camera;
    view.pauseView();
    frames(0.5);
    assert.equal(view.camera.axis.scale, axis.scale);
    assert.equal(view.caption(), null);
    view.direct();
    view.play();
    assert.ok(Math.abs(frames(3).columns - OPEN) < 10, "back to where the director would be");
  }
});

test("a viewer's own camera plays at ten iterations a second, or all that is in sight in twenty seconds", () => {
  const { view } = play(long(2000));
  view.fit();
  view.camera.measure(600);
  assert.ok(Math.abs(view.time.pace() - (2000 * 1.015) / TAKES) < 1e-6);
  view.zoom(1000);
  assert.equal(view.time.pace(), 10);
});

test("a live run is followed at its newest iterations, and all of it is seen at its end", () => {
  const { view, frames, state } = play(long(400), { status: "running" });
  const live = frames(3);
  assert.ok(Math.abs(live.columns - OPEN) < 1, "nothing new comes: as near as at the opening");
  assert.ok(live.x > 400 && live.x <= 600);
  state.status = "finished";
  assert.ok(frames(3).columns > 400);
  assert.equal(view.camera.fitted, true);
});

test("with less motion there are cuts: few scales, and pages", () => {
  const { view, frames } = play(long(2000), { still: true });
  const scales = new Set();
  const starts = new Set();
  for (let k = 0; k < 210; k++) {
    frames(0.1);
    scales.add(view.camera.axis.scale.toFixed(6));
    starts.add(view.camera.axis.start.toFixed(3));
  }
  assert.ok(scales.size <= 9, `${scales.size} scales`);
  assert.ok(starts.size <= 30, `${starts.size} places`);
});

test("a director without lanes, or before it is measured, does nothing", () => {
  const time = new Playhead(new Run(), () => false, true);
  const director = new Director(time, new Camera(time), () => false);
  assert.equal(director.frame(10), false);
  assert.equal(director.caption(10), null);
  const { view } = play(storyRun({}));
  view.camera.width = 0;
  assert.equal(view.director.frame(10), false);
});

/** A view of a live run whose iterations come as a test says: `grow(n)` makes it n iterations long. */
function growing() {
  const run = long(1);
  const made = play(run, { status: "running" });
  let ms = 1000;
  const grow = (n, pause = 16) => {
    run.lanes[0] = long(n).lanes[0];
    for (const time of [(ms += pause), (ms += 16)]) {
      made.view.tick(time);
      made.view.camera.measure(600);
    }
    return made.view.caption()?.refill.request ?? null;
  };
  return { ...made, grow };
}

test("a live run has a caption when its first refill happens before the viewer, for as long as it is in the picture", () => {
  const { grow } = growing();
  for (const n of [1, 6]) assert.equal(grow(n), null);
  for (const [n, pause] of [[7, 16], [8, 1000], [9, 1000]]) assert.equal(grow(n, pause), 2);
  assert.equal(grow(10, 2000), null, "it has been read");
  const fast = growing();
  fast.grow(6);
  assert.equal(fast.grow(40), 2, "many iterations in one frame of a page that is awake");
  let n = 40;
  while (fast.grow((n += 40)) !== null) assert.ok(fast.view.camera.axis.x(6) >= 0);
  assert.ok(n < 4000, "it goes with the column that it is about");
});

test("a live run's caption stays with its column as the run goes on, and does not come back as the view widens", () => {
  const { grow, view } = growing();
  grow(6);
  assert.equal(grow(8), 2);
  const { director } = view;
  const { at } = view.caption();
  assert.equal(director.beside(at), view.camera.axis.x(8), "it goes with the cursor");
  assert.equal(grow(40), 2);
  assert.ok(director.beside(at) < view.camera.axis.x(20), "the cursor has gone on");
  let n = 40;
  while (grow((n += 40)) !== null);
  view.camera.direct(new Axis("iterations", 0, 0.1));
  assert.ok(director.inPicture(at));
  assert.equal(view.caption(), null);
});

test("a page that is opened late, or slept, has no caption of what it has not seen", () => {
  const late = growing();
  assert.equal(late.grow(30), null);
  assert.equal(late.grow(31), null);
  const slept = growing();
  slept.grow(5);
  assert.equal(slept.grow(60, 20_000), null);
  const slow = growing();
  slow.grow(6);
  assert.equal(slow.grow(7, 8000), 2, "an iteration of a slow model may take as long");
});
