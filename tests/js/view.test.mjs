import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { CANCEL, PREEMPT, storyRun } from "./story.mjs";

const { View } = await load("view");

/** A view with a page that counts, and with a host where `status` is given. */
function make({ status = null, follow = true, language = "en" } = {}) {
  const page = { drawn: 0, said: [], changed() { this.drawn++; }, tell(text) { this.said.push(text); } };
  const sent = [];
  const state = { status, actions: ["stop"], knobs: [], refusal: "" };
  const host = status && { state: () => state, send: (message) => sent.push(message) };
  const view = new View(storyRun({}), page, { host, follow, language });
  view.camera.measure(600);
  return { view, page, sent, state };
}

test("play and pause are the viewer's own where the run is recorded", () => {
  const { view, page } = make();
  assert.deepEqual([view.live(), view.status()], [false, "recorded"]);
  view.toggle();
  assert.deepEqual([view.time.playing, view.time.now()], [true, 0]);
  view.toggle();
  assert.equal(view.time.playing, false);
  assert.ok(page.drawn >= 2);
});

test("play and pause are the engine's where the run is live", () => {
  const { view, sent, state } = make({ status: "running" });
  view.toggle();
  state.status = "paused";
  view.toggle();
  assert.deepEqual(sent, [{ action: "pause" }, { action: "resume" }]);
  assert.equal(view.time.playing, false, "it follows the newest iteration");
  view.moveTo(3);
  view.toggle();
  assert.equal(view.time.playing, true);
});

test("a step at the newest iteration is the engine's, and elsewhere the viewer's", () => {
  const { view, sent } = make({ status: "paused" });
  view.step(-1);
  assert.deepEqual([view.time.now(), sent.length], [9, 0]);
  view.step(1);
  assert.deepEqual([view.time.now(), view.time.follow, sent.length], [10, true, 0]);
  view.step(1);
  assert.deepEqual(sent, [{ action: "step" }]);
});

test("stop is remembered until the engine answers, and a run that is over takes no controls", () => {
  const { view, sent, state } = make({ status: "running" });
  view.control({ action: "stop" });
  assert.equal(view.askedToStop, true);
  state.status = "stopped";
  view.control({ action: "burst" });
  assert.deepEqual(sent, [{ action: "stop" }]);
});

test("jumps move on, remember their kind, and say when there is nothing further", () => {
  const { view, page } = make();
  view.moveTo(0);
  view.jump(PREEMPT, 1);
  assert.equal(view.time.now(), 5);
  view.jump(null, 1);
  assert.equal(view.time.now(), 5);
  assert.deepEqual(page.said, ["", "There is no further preemption in that direction."]);
  view.jump(CANCEL, 1);
  assert.equal(page.said.length, 3);
});

test("the other axis keeps the place", () => {
  const { view } = make();
  view.moveTo(4);
  view.setMode("seconds");
  assert.ok(Math.abs(view.time.now() - 0.04) < 1e-12);
  assert.equal(view.shown(view.run.lanes[0]), 4);
  view.setMode("iterations");
  assert.equal(view.time.now(), 4);
});

test("a pinned request stands out over one that is pointed at, until it is released", () => {
  const { view } = make();
  assert.equal(view.lit(), -1);
  view.hover(1);
  assert.equal(view.lit(), 1);
  view.pin(2);
  assert.equal(view.lit(), 2);
  view.pin(2);
  assert.equal(view.lit(), 1);
  view.pin(0);
  view.releaseAll();
  assert.equal(view.lit(), -1);
});

test("keys walk through the slots, and the request that sits there stands out", () => {
  const { view } = make();
  view.moveTo(4);
  view.choose(0, 1);
  assert.deepEqual([view.chosen.slot, view.lit()], [0, 0]);
  view.choose(0, 1);
  assert.deepEqual([view.chosen.slot, view.lit()], [1, 2]);
  view.choose(5, 5);
  assert.deepEqual(view.chosen, { lane: 0, slot: 1 });
  view.moveTo(6);
  view.hoverChosen();
  assert.equal(view.lit(), -1, "the slot is empty then");
});

test("speeds other than those offered mean 1, and unknown languages English", () => {
  const { view } = make({ language: "fr" });
  view.setSpeed(16);
  assert.equal(view.time.speed, 16);
  view.setSpeed(7);
  assert.equal(view.time.speed, 1);
  assert.equal(view.say("pause"), "Pause");
  assert.equal(make({ language: "zh" }).view.say("pause"), "暂停");
});

test("a view that moved is drawn once more when it has come to rest", async () => {
  const { view, page } = make();
  view.zoom(2, 0);
  const moving = page.drawn;
  await new Promise((done) => setTimeout(done, 300));
  assert.equal(page.drawn, moving + 1);
  view.pan(5);
  view.close();
  const closed = page.drawn;
  await new Promise((done) => setTimeout(done, 300));
  assert.equal(page.drawn, closed);
});
