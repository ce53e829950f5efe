import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as board from "../../cbviz/board/board.js";
import { block, iterations, meta, requests } from "./encode.mjs";

const { Axis, Lane, Run } = board;
const ARRIVE = 0, ADMIT = 1, FINISH = 2, PREEMPT = 3, STALL = 4, CANCEL = 5, SET = 6;

// Two slots, three requests. 0 decodes to its end at 3; 1 ends at 1; 2 waits, takes slot 1 at 2, is preempted at 4,
// returns at 6 with a recompute, is stalled at 7, and ends at 9.
const STORY = {
  rows: [["PDDD......", "0000......"], ["PDPD..RSDD", "1122..2222"]],
  waiting: [1, 1, 0, 0, 1, 1, 0, 0, 0, 0],
  marks: [
    [ARRIVE, 0, 0, -1], [ARRIVE, 0, 1, -1], [ARRIVE, 0, 2, -1], [ADMIT, 0, 0, 0, "nothing running"], [ADMIT, 0, 1, 1, "nothing running"],
    [FINISH, 1, 1, 1, "end"], [ADMIT, 2, 2, 1, "slot free"], [FINISH, 3, 0, 0, "length"], [PREEMPT, 4, 2, 1, "out of blocks"],
    [ADMIT, 6, 2, 1, "blocks free"], [STALL, 7, 2, 1, "prefill first"], [FINISH, 9, 2, 1, "end"],
  ],
};
function story(options = {}) {
  const lane = new Lane({ name: "a", slots: 2, total_blocks: 10 });
  const { header, arrays } = board.decodeBlock(iterations({ ...STORY, ...options }));
  assert.equal(lane.append(header, arrays), "taken");
  return lane;
}

test("both languages have every word, with the same blanks", () => {
  const blanks = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort().join(" ");
  assert.deepEqual(Object.keys(board.WORDS.en).sort(), Object.keys(board.WORDS.zh).sort());
  for (const key of Object.keys(board.WORDS.en)) {
    if (key === "speed_title") continue;
    assert.equal(blanks(board.WORDS.en[key]), blanks(board.WORDS.zh[key]), key);
  }
  assert.equal(board.say("zh", "waiting", { n: 3 }), "3 个等待");
  assert.throws(() => board.say("en", "nonsense"), /no words/);
  assert.ok(!JSON.stringify(board.WORDS.zh).includes("推断"), "inference is 推理");
});

test("no word is kept that the board never says", () => {
  const source = readFileSync(new URL("../../cbviz/board/board.js", import.meta.url), "utf8");
  const code = source.slice(source.indexOf("export function say("));
  const built = /^(why_|clock_|set_)|_title$/; // put together from the name of a state or of a control
  const silent = Object.keys(board.WORDS.en).filter((key) => !built.test(key) && !new RegExp(`["'\`]${key}["'\`]`).test(code));
  assert.deepEqual(silent, []);
});

test("numbers and durations are written as the language does", () => {
  assert.equal(board.number("en", 12345.678, 1), "12,345.7");
  assert.equal(board.number("en", NaN), "–");
  assert.equal(board.duration("en", 0.0061), "6.1 ms");
  assert.equal(board.duration("en", 0.134), "0.13 s");
  assert.equal(board.duration("en", 200), "3 min 20 s");
  assert.equal(board.duration("zh", 12.34), "12.3 秒");
  assert.equal(board.duration("en", null), "–");
});

test("text on every request colour reaches 4.5:1", () => {
  for (const colour of board.PALETTE) assert.ok(board.contrast(board.textOn(colour), colour) >= 4.5, colour);
  assert.ok(new Set(board.PALETTE.map(board.textOn)).size === 2, "some labels are dark, some light");
});

test("textures stand out from their ground at 3:1, in both themes", () => {
  for (const colour of board.PALETTE) assert.ok(board.contrast(board.inkOn(colour), colour) >= 3, colour);
  for (const theme of Object.values(board.THEMES)) {
    for (const [ground, ink] of [theme.held, theme.wasted]) assert.ok(board.contrast(ground, ink) >= 3, ground);
    for (const colour of board.PALETTE) assert.ok(board.contrast(board.stalledGround(colour, theme), board.stalledInk(colour, theme)) >= 3);
    assert.ok(board.contrast(theme.end, theme.ground) >= 3);
    assert.ok(board.contrast(theme.faint, theme.ground) >= 4.5);
    assert.ok(board.contrast(theme.cursor, theme.ground) >= 3);
  }
});

test("a block is read back as it was written", () => {
  const bytes = block({ kind: "x", lane: 1 }, { a: ["f8", [0.5, -1]], b: ["i4", [7]], c: ["u1", [1, 2, 255]] });
  const padded = new Uint8Array(bytes.length + 3);
  padded.set(bytes, 3); // an offset that no typed array could start at
  const { header, arrays, next } = board.decodeBlock(padded, 3);
  assert.equal(header.kind, "x");
  assert.deepEqual([...arrays.a], [0.5, -1]);
  assert.deepEqual([...arrays.b], [7]);
  assert.deepEqual([...arrays.c], [1, 2, 255]);
  assert.equal(next, padded.length);
});

test("cut or foreign bytes are refused", () => {
  const bytes = block({ kind: "x" }, { a: ["f8", [1, 2, 3]] });
  for (const length of [0, 8, 20, bytes.length - 1]) assert.throws(() => board.decodeBlock(bytes.subarray(0, length)), /cut or foreign/);
  const foreign = bytes.slice();
  foreign[0] = 88;
  assert.throws(() => board.decodeBlock(foreign), /cut or foreign/);
});

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

test("idle is wasted exactly while somebody waits", () => {
  const lane = story();
  const state = (slot, i) => lane.rows[slot].state[lane.spanAt(slot, i)];
  assert.deepEqual([3, 4, 5, 6, 9].map((i) => state(0, i)), [board.DECODE, board.WASTED, board.WASTED, board.IDLE, board.IDLE]);
  assert.deepEqual([4, 5, 6, 7, 8].map((i) => state(1, i)), [board.WASTED, board.WASTED, board.RECOMPUTE, board.STALLED, board.DECODE]);
});

test("the queue at any moment, preempted requests first", () => {
  const lane = story();
  assert.deepEqual(lane.queue(1, 9), [{ request: 2, again: false }]);
  assert.deepEqual(lane.queue(3, 9), []);
  assert.deepEqual(lane.queue(5, 9), [{ request: 2, again: true }]);
  assert.deepEqual(lane.queue(7, 9), []);
});

test("a request's story: slot, whom it replaced, times, text", () => {
  const lane = story();
  assert.equal(lane.request(2, 0), null);
  assert.equal(lane.request(2, 2).status, "s_waiting");
  const early = lane.request(2, 4);
  assert.deepEqual([early.status, early.slot, early.replaced, early.tokens], ["s_running", 1, 1, 2]);
  assert.equal(lane.request(2, 5).status, "s_preempted");
  assert.equal(lane.request(2, 7).status, "s_running");
  const last = lane.request(2, 10);
  assert.deepEqual([last.status, last.why, last.preemptions, last.reason], ["s_finished", "end", 1, "blocks free"]);
  assert.equal(last.text, "2@2 2@3 2@6 2@8 2@9 ");
  assert.ok(Math.abs(last.waited - 0.02) < 1e-12);
  assert.ok(Math.abs(last.ttft - 0.03) < 1e-12);
  assert.ok(Math.abs(last.tpot - 0.07 / 4) < 1e-12);
  assert.ok(Math.abs(lane.request(2, 10, 0.01).ttft - 0.02) < 1e-12, "a known arrival counts");
});

test("marks: flags on spans, reasons on cells, jumps", () => {
  const lane = story();
  const flags = (slot, i) => lane.rows[slot].flags[lane.spanAt(slot, i)];
  assert.ok(flags(0, 3) & board.ENDS);
  assert.ok(flags(1, 3) & board.LOSES);
  assert.ok(flags(1, 2) & board.ENTERS);
  assert.ok(!(flags(0, 1) & board.LOSES));
  const why = (slot, i) => lane.reasons(slot, lane.spanAt(slot, i)).map((mark) => mark.reason);
  assert.deepEqual(why(1, 3), ["slot free", "out of blocks"]);
  assert.deepEqual(why(1, 7), ["blocks free", "prefill first"]);
  assert.deepEqual([lane.jump(ADMIT, 1, 1), lane.jump(ADMIT, 3, 1), lane.jump(ADMIT, 7, 1)], [3, 7, null]);
  assert.deepEqual([lane.jump(ADMIT, 7, -1), lane.jump(ADMIT, 3, -1), lane.jump(ADMIT, 1, -1)], [3, 1, null]);
  assert.deepEqual([lane.jump(STALL, 0, 1), lane.jump(PREEMPT, 0, 1), lane.jump(CANCEL, 0, 1)], [8, 5, null]);
});

test("however a run is cut into blocks, the store is the same", () => {
  const whole = story();
  for (const cuts of [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 7]]) {
    const lane = new Lane({ name: "a", slots: 2, total_blocks: 10 });
    const edges = [0, ...cuts, 10];
    for (let k = 0; k + 1 < edges.length; k++) {
      const { header, arrays } = board.decodeBlock(iterations({ ...STORY, from: edges[k], to: edges[k + 1] }));
      assert.equal(lane.append(header, arrays), "taken");
    }
    assert.deepEqual(JSON.parse(JSON.stringify(lane.rows)), JSON.parse(JSON.stringify(whole.rows)));
    assert.deepEqual(lane.request(2, 10), whole.request(2, 10));
    assert.deepEqual([...lane.sum.wasted.data.subarray(0, 11)], [...whole.sum.wasted.data.subarray(0, 11)]);
    assert.deepEqual(lane.stays, whole.stays);
  }
});

test("repeated and overlapping blocks change nothing; a gap is seen and healed by the whole run", () => {
  const whole = story();
  const run = new Run();
  run.add(meta([{ name: "a", slots: 2, total_blocks: 10 }]));
  assert.equal(run.add(iterations({ ...STORY, to: 3 })), true);
  assert.equal(run.add(iterations({ ...STORY, from: 1, to: 3 })), true);
  assert.equal(run.add(iterations({ ...STORY, from: 5, to: 7 })), false, "3 and 4 are missing");
  assert.deepEqual([run.gaps, ...run.have()], [1, 3]);
  assert.equal(run.add(iterations(STORY)), true);
  assert.deepEqual(JSON.parse(JSON.stringify(run.lanes[0].rows)), JSON.parse(JSON.stringify(whole.rows)));
  assert.equal(run.lanes[0].request(2, 10).text, whole.request(2, 10).text);
});

test("a run holds titles, prompts of all lanes or of one, and refuses lanes it does not have", () => {
  const run = new Run();
  run.add(meta([{ name: "a", slots: 2 }, { name: "b", slots: 2 }]));
  run.add(requests([[0, "<b>hello</b>", 4, 9, null], [1, "x", 1, 2, 0.5]]));
  run.add(requests([[1, "other", 3, 4, null]], 1));
  assert.equal(run.meta.title, "T");
  assert.equal(run.about(0, 0).prompt, "<b>hello</b>");
  assert.equal(run.about(0, 1).prompt, "x");
  assert.equal(run.about(1, 1).prompt, "other");
  assert.equal(run.about(0, 7), null);
  assert.equal(run.total(0), 2);
  assert.throws(() => run.add(iterations({ ...STORY, lane: 2 })), /does not have/);
});

test("a run without texts says how many tokens came, not what they were", () => {
  const lane = story({ pieces: false });
  assert.equal(lane.request(0, 10).text, null);
  assert.equal(lane.request(0, 10).tokens, 4);
});

test("an axis maps both ways, and zooming keeps the place under the pointer", () => {
  const axis = new Axis("iterations", 10, 4);
  assert.equal(axis.x(12), 8);
  assert.equal(axis.value(8), 12);
  const near = board.zoomed(axis, 100, 2, 0.1, 50);
  assert.equal(near.scale, 8);
  assert.ok(Math.abs(near.value(100) - axis.value(100)) < 1e-9);
  assert.equal(board.zoomed(axis, 0, 1000, 0.1, 50).scale, 50);
  assert.equal(board.zoomed(axis, 0, 1e-9, 0.1, 50).scale, 0.1);
});

test("ticks are round numbers with room between them", () => {
  assert.deepEqual(board.ticks(new Axis("iterations", 0, 8), 500), [0, 10, 20, 30, 40, 50, 60]);
  assert.deepEqual(board.ticks(new Axis("iterations", 3, 80), 200), [3, 4, 5]);
  const fine = board.ticks(new Axis("seconds", 0, 1000), 400);
  assert.ok(fine.every((value, k) => Math.abs(value - k * 0.1) < 1e-9), String(fine));
});

test("cursor values map between iterations and seconds and back, also with gaps between iterations", () => {
  const seconds = [0, 0.1, 0.15, 0.5, 0.6, 0.7, 0.9, 1, 1.1, 1.4, 2];
  const lane = story({ seconds });
  for (const k of [0, 1, 2.5, 7, 9.25, 10]) {
    const there = board.convert(lane, k, "iterations", "seconds");
    assert.ok(Math.abs(board.convert(lane, there, "seconds", "iterations") - k) < 1e-9, String(k));
  }
  assert.equal(board.convert(lane, 3, "iterations", "seconds"), 0.5);
  assert.equal(lane.iterationsAt(0.5), 3);
  assert.equal(lane.iterationsAt(0.49), 2);
});

test("a point finds slot, iteration and span on both axes", () => {
  const lane = story({ seconds: [0, 0.1, 0.15, 0.5, 0.6, 0.7, 0.9, 1, 1.1, 1.4, 2] });
  const heights = board.laneHeights(2, 1, false);
  const y = heights.top + heights.pitch * 1.5;
  assert.deepEqual(board.hitTest(lane, new Axis("iterations", 0, 10), heights, 35, y), { slot: 1, iteration: 3, span: lane.spanAt(1, 3) });
  assert.deepEqual(board.hitTest(lane, new Axis("seconds", 0, 100), heights, 30, y), { slot: 1, iteration: 2, span: lane.spanAt(1, 2) });
  assert.equal(board.hitTest(lane, new Axis("iterations", 0, 10), heights, 101, y), null);
  assert.equal(board.hitTest(lane, new Axis("iterations", 0, 10), heights, 35, heights.top + heights.rows + 1), null);
});

test("rows fit from one slot to hundreds", () => {
  for (const slots of [1, 8, 64, 256]) for (const lanes of [1, 2, 4]) {
    const heights = board.laneHeights(slots, lanes, false);
    assert.ok(heights.pitch >= 2 && heights.pitch <= 26 && heights.gap < heights.pitch);
    assert.equal(heights.rows, heights.pitch * slots);
  }
});

test("columns of many iterations keep each state's share of the area", () => {
  // 240 iterations in 12 columns of 20: alternately 3 decoded and 1 held.
  const drawing = ["DDDH".repeat(60), "0".repeat(240)];
  const lane = new Lane({ name: "a", slots: 1 });
  const { header, arrays } = board.decodeBlock(iterations({ rows: [drawing] }));
  lane.append(header, arrays);
  const axis = new Axis("iterations", 0, 1 / 20);
  const edges = board.columnEdges(lane, axis, 14, 1);
  const parts = 4;
  const state = new Uint8Array(14 * parts);
  const request = new Int32Array(14);
  board.coarse(lane, 0, edges, parts, state, request);
  const count = (wanted) => state.reduce((sum, value) => sum + (value === wanted ? 1 : 0), 0);
  assert.equal(count(board.DECODE), 12 * 3);
  assert.equal(count(board.HELD), 12 * 1);
  assert.equal(count(255), 2 * parts, "nothing beyond the run");
  assert.equal(request[0], 0);
  // With one pixel a column the shares hold over neighbouring columns.
  const thin = new Uint8Array(12);
  const sums = [];
  for (let slot = 0; slot < 4; slot++) {
    const many = new Lane({ name: "a", slots: 4 });
    const cells = board.decodeBlock(iterations({ rows: Array(4).fill(drawing) }));
    many.append(cells.header, cells.arrays);
    board.coarse(many, slot, edges.slice(0, 13), 1, thin, request);
    sums.push(thin.filter((value) => value === board.HELD).length);
  }
  assert.equal(sums.reduce((a, b) => a + b), 12, "a quarter of 48");
});

test("direction controls are shown, and long texts lose their middle", () => {
  assert.equal(board.clip("a\u202Eb"), "a⟨U+202E⟩b");
  const long = board.clip("x".repeat(100000));
  assert.ok(long.length < 4100 && long.includes(" … "));
  assert.equal(board.clip("中文 <script>"), "中文 <script>");
});

test("bytes are taken from whatever a host hands over", () => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  assert.deepEqual([...board.bytesOf(new DataView(bytes.buffer, 1, 2))], [2, 3]);
  assert.deepEqual([...board.bytesOf(bytes.buffer)], [1, 2, 3, 4]);
  assert.deepEqual([...board.bytesOf(bytes)], [1, 2, 3, 4]);
  assert.equal(board.bytesOf(undefined).length, 0);
});

/** A widget's model that keeps what is sent and lets a test speak for the kernel. */
function fakeModel(state) {
  const listeners = new Map();
  return {
    sent: [], get: (name) => state[name], on: (name, f) => listeners.set(name, f), off: (name) => listeners.delete(name),
    send(message) { this.sent.push(message); }, say: (content, buffers = []) => listeners.get("msg:custom")(content, buffers.map((b) => new DataView(b.buffer))),
    change(name, value) { state[name] = value; listeners.get(`change:${name}`)(); }, listeners,
  };
}
const LIVE = () => ({ _meta: { title: "T", lanes: [{ name: "a", slots: 2, total_blocks: 10 }] }, _status: "running", _run: new DataView(new ArrayBuffer(0)), _actions: [], _knobs: [] });

test("a feed says hello, confirms frames and asks again after a loss", () => {
  const model = fakeModel(LIVE());
  const feed = new board.Feed(model);
  assert.deepEqual(model.sent.shift(), { type: "hello", have: [0] });
  model.say({ type: "frame", seq: 1, have: [3] }, [iterations({ ...STORY, to: 3 })]);
  assert.deepEqual(model.sent.shift(), { type: "ack", seq: 1 });
  feed.asked = 0;
  model.say({ type: "frame", seq: 3, have: [9] }, [iterations({ ...STORY, from: 7, to: 9 })]);
  assert.deepEqual(model.sent, [{ type: "ack", seq: 3 }, { type: "resync", have: [3] }]);
  model.say({ type: "frame", seq: 4, have: [9] }, [iterations({ ...STORY, to: 9 })]);
  assert.deepEqual(feed.run.have(), [9]);
  model.change("_run", new DataView(iterations(STORY).buffer));
  assert.deepEqual(feed.run.have(), [10]);
  feed.close();
  assert.equal(model.listeners.size, 0);
});

test("a late feed finds the whole run in the widget's state", () => {
  const state = LIVE();
  state._run = new DataView(iterations(STORY).buffer);
  state._status = "finished";
  const feed = new board.Feed(fakeModel(state));
  assert.deepEqual(feed.run.have(), [10]);
});

test("slots that somebody closes are neither room nor waste, and stay empty on the page", () => {
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
  const make = (cuts) => {
    const lane = new Lane({ name: "a", slots: 3 });
    cuts.forEach((from, k) => {
      const { header, arrays } = board.decodeBlock(iterations({ rows, waiting, marks, from, to: cuts[k + 1] ?? 10 }));
      assert.equal(lane.append(header, arrays), "taken");
    });
    return lane;
  };
  const lane = make([0]);
  // "6" is idle while somebody waits, "7" closed, "0" idle while nobody waits.
  assert.deepEqual(shown(lane), ["1226771222", "1222227712", "6612277700"]);
  assert.deepEqual(shown(make([0, 3, 4, 7])), shown(lane), "the same, however it travels");
  const closed = 7;
  assert.equal(lane.counters(10).occupancy, 18 / (30 - closed));
  assert.equal(lane.counters(10).wasted, 3);
  assert.deepEqual([...lane.settings(5)], [["slots", "1"]]);
  assert.deepEqual([...lane.settings(6)], [["slots", "1"], ["policy", "static"]]);
  assert.equal(lane.jump(SET, 1, 1), 5);
  assert.equal(lane.jump(SET, 5, 1), 6);
  assert.equal(lane.jump(SET, 9, 1), null);
});

test("what Python says is said in Chinese on a Chinese board, and what others wrote stays", () => {
  assert.equal(board.inWords("zh", "tiny · cpu · 8 slots · seed 3"), "tiny · cpu · 8 个槽位 · 种子 3");
  assert.equal(board.inWords("en", "Race"), "Race");
  assert.equal(board.inWords("zh", "Race"), "竞赛");
  assert.equal(board.inWords("zh", "My own $1 race"), "My own $1 race");
  assert.equal(board.inWords("zh", "pause all to prefill when waiting ≥ 1.2 × running or after 20 decodes"), "等待数 ≥ 1.2 × 运行数，或已解码 20 次时，暂停全部请求先做预填充");
  for (const [english] of board.SAID) assert.match(english.source, /^\^.*\$$/, "whole texts only");
});
