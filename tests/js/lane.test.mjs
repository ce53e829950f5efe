import assert from "node:assert/strict";
import { test } from "node:test";
import { iterations } from "./encode.mjs";
import { load } from "./modules.mjs";
import { ADMIT, ARRIVE, CANCEL, FINISH, PREEMPT, SECONDS, SET, STALL, STORY, laneOf, story } from "./story.mjs";

const states = await load("states");
const { Lane } = await load("lane");
const { decodeBlock } = await load("wire");
const { requestAt } = await load("request");

test("counters add up over any number of iterations", () => {
  const lane = story();
  assert.equal(lane.n, 10);
  // Useful: 4 of request 0, 2 of 1, 2 + 2 of 2. Wasted: idle while 2 waits (both slots, 4 and 5), recompute, stalled.
  assert.equal(lane.sum.useful.at(10), 10);
  assert.equal(lane.sum.wasted.at(10), 6);
  assert.equal(lane.counters(10).occupancy, 0.5);
  assert.equal(lane.counters(10).finished, 3);
  assert.equal(lane.counters(2).finished, 1);
  assert.equal(lane.counters(2).generated, 4);
  assert.ok(Number.isNaN(lane.counters(0).occupancy));
});

test("a token without text adds nothing, also where a whole block has no text", () => {
  const lane = laneOf(STORY, [2], { total_blocks: 10 });
  const mixed = new Lane({ name: "a", slots: 2, total_blocks: 10 });
  for (const stretch of [{ to: 2 }, { from: 2, pieces: false }]) {
    const { header, arrays } = decodeBlock(iterations({ ...STORY, ...stretch }));
    assert.equal(mixed.append(header, arrays), "taken");
  }
  for (const [id, { tokens, pieces }] of mixed.requests) {
    if (!pieces.length) continue;
    assert.equal(pieces.length, tokens.length);
    const before = tokens.filter((at) => at < 2).length;
    assert.equal(pieces.join(""), lane.requests.get(id).pieces.slice(0, before).join(""));
  }
});

test("idle is wasted exactly while a request waits", () => {
  const lane = story();
  const state = (slot, i) => lane.rows[slot].state[lane.spanAt(slot, i)];
  assert.deepEqual([3, 4, 5, 6, 9].map((i) => state(0, i)), [states.DECODE, states.WASTED, states.WASTED, states.IDLE, states.IDLE]);
  assert.deepEqual([4, 5, 6, 7, 8].map((i) => state(1, i)), [states.WASTED, states.WASTED, states.RECOMPUTE, states.STALLED, states.DECODE]);
});

test("marks: flags on spans, jumps", () => {
  const lane = story();
  const flags = (slot, i) => lane.rows[slot].flags[lane.spanAt(slot, i)];
  assert.ok(flags(0, 3) & states.ENDS);
  assert.ok(flags(1, 3) & states.LOSES);
  assert.ok(flags(1, 2) & states.ENTERS);
  assert.ok(!(flags(0, 1) & states.LOSES));
  assert.deepEqual([lane.jump(ADMIT, 1, 1), lane.jump(ADMIT, 3, 1), lane.jump(ADMIT, 7, 1)], [3, 7, null]);
  assert.deepEqual([lane.jump(ADMIT, 7, -1), lane.jump(ADMIT, 3, -1), lane.jump(ADMIT, 1, -1)], [3, 1, null]);
  assert.deepEqual([lane.jump(STALL, 0, 1), lane.jump(PREEMPT, 0, 1), lane.jump(CANCEL, 0, 1)], [8, 5, null]);
});

test("however a run is cut into blocks, the store is the same", () => {
  const whole = story();
  for (const cuts of [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 7]]) {
    const lane = story({}, cuts);
    assert.deepEqual(JSON.parse(JSON.stringify(lane.rows)), JSON.parse(JSON.stringify(whole.rows)));
    assert.deepEqual(requestAt(lane, 2, 10), requestAt(whole, 2, 10));
    assert.deepEqual([...lane.sum.wasted.data.subarray(0, 11)], [...whole.sum.wasted.data.subarray(0, 11)]);
    assert.deepEqual(lane.queue.stays, whole.queue.stays);
  }
});

test("blocks that are known or come too early are named so, and change nothing", () => {
  const lane = story({}, [4]);
  const take = (from, to) => {
    const { header, arrays } = decodeBlock(iterations({ ...STORY, from, to }));
    return lane.append(header, arrays);
  };
  const before = JSON.stringify(lane);
  assert.deepEqual([take(0, 10), take(3, 7)], ["old", "old"]);
  assert.equal(JSON.stringify(lane), before);
  const short = laneOf({ ...STORY, rows: STORY.rows.map(([state, who]) => [state.slice(0, 3), who.slice(0, 3)]) });
  const { header, arrays } = decodeBlock(iterations({ ...STORY, from: 4 }));
  assert.equal(short.append(header, arrays), "gap");
  assert.equal(short.n, 3);
});

test("spans cover every iteration once, and times map to iterations and back", () => {
  const lane = story({ seconds: SECONDS });
  lane.rows.forEach((row, slot) => row.first.forEach((first, span) => {
    for (let i = first; i < lane.endOf(slot, span); i++) assert.equal(lane.spanAt(slot, i), span);
  }));
  assert.deepEqual([lane.spanAt(0, -1), lane.spanAt(0, 10), lane.spanAt(2, 0)], [-1, -1, -1]);
  for (let k = 0; k <= lane.n; k++) assert.equal(lane.iterationsAt(lane.secondsAt(k)), k);
  assert.equal(lane.secondsAt(99), 2);
});

test("slots that are closed are neither room nor waste, and stay empty on the page", () => {
  // Three slots, one open from iteration 4 on: who runs there goes on, also beyond the open one; from 8 on all are open.
  const rows = [["PDD...PDDD", "000...3333"], ["PDDDDD..PD", "111111..44"], ["..PDD.....", "..222....."]];
  const marks = [
    [SET, 0, -1, 3, "slots = 3"], [SET, 4, -1, 1, "slots = 1"], [SET, 5, -1, -1, "policy = static"], [SET, 8, -1, 3, "slots = 3"],
    ...[0, 1, 2, 3, 4].map((id) => [ARRIVE, 0, id, -1]),
    [ADMIT, 0, 0, 0], [ADMIT, 0, 1, 1], [ADMIT, 2, 2, 2], [ADMIT, 6, 3, 0], [ADMIT, 8, 4, 1],
    [FINISH, 2, 0, 0, "end"], [FINISH, 4, 2, 2, "end"], [FINISH, 5, 1, 1, "end"], [FINISH, 9, 3, 0, "end"], [FINISH, 9, 4, 1, "end"],
  ].sort((a, b) => a[1] - b[1]);
  const waiting = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0];
  const shown = (lane) => lane.rows.map((_, slot) => Array.from({ length: 10 }, (_, i) => lane.rows[slot].state[lane.spanAt(slot, i)]).join(""));
  const lane = laneOf({ rows, waiting, marks });
  // "6" is idle while a request waits, "7" closed, "0" idle while none waits.
  assert.deepEqual(shown(lane), ["1226771222", "1222227712", "6612277700"]);
  assert.deepEqual(shown(laneOf({ rows, waiting, marks }, [3, 4, 7])), shown(lane), "the same, however it travels");
  const closed = 7;
  assert.equal(lane.counters(10).occupancy, 18 / (30 - closed));
  assert.equal(lane.counters(10).wasted, 3);
  assert.deepEqual([...lane.settings(5)], [["slots", "1"]]);
  assert.deepEqual([...lane.settings(6)], [["slots", "1"], ["policy", "static"]]);
  assert.equal(lane.jump(SET, 1, 1), 5);
  assert.equal(lane.jump(SET, 5, 1), 6);
  assert.equal(lane.jump(SET, 9, 1), null);
});
