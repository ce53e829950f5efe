import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { ADMIT, ARRIVE, CANCEL, laneOf, story, storyRun } from "./story.mjs";

const { reasonsOf, requestAt, requestViews } = await load("request");
const { Playhead } = await load("playhead");

test("a request's story: slot, whom it replaced, times, text", () => {
  const lane = story();
  assert.equal(requestAt(lane, 2, 0), null);
  assert.equal(requestAt(lane, 2, 2).status, "s_waiting");
  const early = requestAt(lane, 2, 4);
  assert.deepEqual([early.status, early.slot, early.replaced, early.tokens], ["s_running", 1, 1, 2]);
  assert.equal(requestAt(lane, 2, 5).status, "s_preempted");
  assert.equal(requestAt(lane, 2, 7).status, "s_running");
  const last = requestAt(lane, 2, 10);
  assert.deepEqual([last.status, last.why, last.preemptions, last.reason], ["s_finished", "end", 1, "blocks free"]);
  assert.equal(last.text, "2@2 2@3 2@6 2@8 2@9 ");
  assert.ok(Math.abs(last.waited - 0.02) < 1e-12);
  assert.ok(Math.abs(last.ttft - 0.03) < 1e-12);
  assert.ok(Math.abs(last.tpot - 0.07 / 4) < 1e-12);
  assert.ok(Math.abs(requestAt(lane, 2, 10, 0.01).ttft - 0.02) < 1e-12, "a known arrival counts");
});

test("reasons on cells", () => {
  const lane = story();
  const why = (slot, i) => reasonsOf(lane, slot, lane.spanAt(slot, i)).map((mark) => mark.reason);
  assert.deepEqual(why(1, 3), ["slot free", "out of blocks"]);
  assert.deepEqual(why(1, 7), ["blocks free", "prefill first"]);
  assert.deepEqual(why(0, 5), [], "an empty slot has none");
});

test("a run without texts says how many tokens came, not what they were", () => {
  const lane = story({ pieces: false });
  assert.equal(requestAt(lane, 0, 10).text, null);
  assert.equal(requestAt(lane, 0, 10).tokens, 4);
});

test("a request that ended in a slot that its batch still computes is held, and a cancelled one ends", () => {
  const lane = laneOf({ rows: [["PDHH", "0000"]], marks: [[ARRIVE, 0, 0, -1], [ARRIVE, 0, 1, -1], [ADMIT, 0, 0, 0], [2, 1, 0, 0, "end"], [CANCEL, 2, 1, -1, ""]] });
  assert.equal(requestAt(lane, 0, 2).status, "s_finished");
  assert.equal(requestAt(lane, 0, 3).status, "s_held");
  assert.deepEqual([requestAt(lane, 1, 2).status, requestAt(lane, 1, 3).status, requestAt(lane, 1, 3).why], ["s_waiting", "s_finished", "cancelled"]);
  assert.deepEqual(lane.queue.waiting(3, 9), []);
});

test("a request in every lane at the moment shown", () => {
  const run = storyRun({}, { pieces: false });
  const time = new Playhead(run, () => false, false);
  time.moveTo(4);
  const views = requestViews({ run, time }, 2);
  assert.deepEqual(views.map((view) => [view.status, view.tokens, view.text]), [["s_running", 2, "2@2 2@3 "], ["s_running", 2, null]]);
  assert.deepEqual(requestViews({ run, time }, 9), [null, null]);
});
