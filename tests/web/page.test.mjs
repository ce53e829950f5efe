import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./served.mjs";

const { fragmentOf, settingsOf } = await load("page/fragment.js");
const { USUAL, checkedSettings } = await load("page/options.js");
const { learnedPolicy } = await load("worker/learned.js");
const { workerText } = await load("page/live_race.js");
const { blocksOf } = await load("worker/serving.js");
const { EXAMPLES } = await load("page/examples.js");
const { RequestView, View } = await load("engine/view.js");
const { check } = await load("engine/check.js");
const { plainPlan } = await load("engine/plan.js");
const { reason } = await load("engine/reason.js");
const { nothingToWin } = await load("measure/ties.js");
const tallies = await load("measure/tally.js");

const packed = (value) => `#race=${Buffer.from(JSON.stringify(value)).toString("base64url")}`;

test("a link brings back what was shared", () => {
  const settings = { slots: 4, requests: 12, seed: 2 ** 32 - 1, tight: true, lanes: ["static", "yours", "sarathi"], code: "function plan(view) { return {}; } // é字😀</script>", language: "python" };
  assert.match(fragmentOf(settings), /^#race=[\w-]+$/);
  assert.deepEqual(settingsOf(fragmentOf(settings)), settings);
  assert.deepEqual(settingsOf(packed({ slots: 2 })), { ...USUAL, slots: 2 });
});

test("the longest scheduler fits into a link, whatever its characters are", () => {
  for (const sign of ["\u0000", "\ud800", "字", '"']) {
    const settings = { ...USUAL, lanes: ["yours"], code: sign.repeat(20_000) };
    assert.equal(settingsOf(fragmentOf(settings)).code.length, 20_000);
  }
});

test("a reason of a scheduler is text: a key and facts are the engine's own", () => {
  const circle = {};
  circle.self = circle;
  for (const why of [["reason.nonsense", {}], ["reason.no_block_free", circle], ["reason.lacks_blocks", { needed: 5n }], ["reason.lacks_blocks", null]]) {
    assert.throws(() => plainPlan({ admit: [{ request: 1, reason: why }] }, 0), /the reason to admit request 1 is .*; a reason is text\./);
    assert.throws(() => plainPlan({ put_off: new Map([[1, why]]) }, 0), /a reason is text\./);
  }
  const own = reason("lacks_blocks", { needed: 5, free: 3 });
  assert.deepEqual(plainPlan({ put_off: new Map([[1, own]]), preempt: { 2: own } }, 0).preempt.get(2), ["reason.lacks_blocks", { needed: 5, free: 3 }]);
  assert.throws(() => (own[1].needed = 6), TypeError);
});

test("an address without settings, or with a place of the page, brings none", () => {
  for (const fragment of ["", "#", "#steps"]) assert.equal(settingsOf(fragment), null);
});

for (const [fragment, key] of [
  ["#race=", "bad_link"], ["#race=%%%", "bad_link"], ["#race=AAAA", "bad_link"], [packed([]), "bad_link"], [packed(null), "bad_link"], [packed("x"), "bad_link"],
  [packed({ run: true }), "bad_link"], [`#race=${"A".repeat(200_000)}`, "bad_link"], [packed({ slots: 3 }), "bad_slots"], [packed({ slots: "8" }), "bad_slots"],
  [packed({ requests: 1e9 }), "bad_requests"], [packed({ requests: 1.5 }), "bad_requests"], [packed({ seed: -1 }), "bad_seed"], [packed({ seed: 2 ** 32 }), "bad_seed"],
  [packed({ lanes: [] }), "bad_lanes"], [packed({ lanes: ["__proto__"] }), "bad_lanes"], [packed({ lanes: Array(4).fill("static") }), "bad_lanes"], [packed({ lanes: "static" }), "bad_lanes"],
  [packed({ code: "x".repeat(20_001) }), "bad_code"], [packed({ code: 5 }), "bad_code"], [packed({ tight: "no" }), "bad_link"],
  [packed({ language: "ruby" }), "bad_link"], [packed({ language: ["python"] }), "bad_link"],
]) {
  test(`a link that was tampered with is refused: ${fragment.slice(0, 60)}`, () => {
    assert.throws(() => settingsOf(fragment), { key });
  });
}

test("settings are a copy: what is given may change afterwards", () => {
  const given = { lanes: ["static"] };
  const checked = checkedSettings(given);
  given.lanes.push("nonsense");
  assert.deepEqual(checked.lanes, ["static"]);
});

/** The policy of a text, made as a worker makes it. */
function written(text) {
  new Function(workerText("", text))();
  return learnedPolicy();
}

test("a scheduler is a function plan, and may have a name", () => {
  const policy = written('const name = "mine";\nlet calls = 0;\nfunction plan(view) { calls++; return { admit: [view, calls] }; }');
  assert.equal(policy.name, "mine");
  assert.deepEqual([policy.plan(7), policy.plan(8)], [{ admit: [7, 1] }, { admit: [8, 2] }]);
  assert.equal(written("const plan = () => ({});").name, "yours");
  assert.equal(written("const plan = () => ({}); // a comment at the end").name, "yours");
});

for (const [text, sentence] of [
  ["", /has no plan; write a function plan\(view\)/],
  ["const plan = 5;", /has no plan/],
  ["return null;", /has no plan/],
  ["}; function more() {", /has no plan/],
  ['throw new TypeError("no");', /raised TypeError before its first plan: no$/],
  ["null.x;", /raised TypeError before its first plan/],
  ['const name = "a\\u202Eb"; const plan = () => ({});', /name of the scheduler is .* printable characters/],
  [`const name = "${"x".repeat(101)}"; const plan = () => ({});`, /at most 100 printable characters/],
]) {
  test(`a scheduler that is none gets a sentence: ${text.slice(0, 40)}`, () => {
    assert.throws(() => written(text), sentence);
  });
}

test("the examples plan what the referee lets pass, also where blocks run out", () => {
  const request = (id, fields) => new RequestView({ id, arrival: 0, prompt_tokens: 10, max_new_tokens: 20, ...fields });
  const views = [[4, 40], [4, 3], [0, 40], [2, 0]].map(([free_slots, free_blocks]) => new View({
    iteration: 3, now: 0, slots: 8, waiting: [request(1), request(2, { prompt_tokens: 4 }), request(3)],
    running: [request(4, { generated: 6, computed: 15, slot: 0, blocks: 4 }), request(5, { generated: 7, computed: 16, slot: 1, blocks: 4 })],
    finished: [], free_slots, free_blocks, block_size: 4, total_blocks: 60, context_limit: 120, clock: 0, last_admission: 0,
  }));
  for (const text of Object.values(EXAMPLES.javascript)) {
    for (const view of views) check(plainPlan(written(text).plan(view), 0), view);
  }
});

test("every lane has room for the longest request, tight or not", () => {
  for (const slots of [1, 2, 4, 8, 16]) {
    for (const tight of [false, true]) assert.ok(16 * blocksOf({ slots, tight }, 384) >= 384);
    assert.ok(blocksOf({ slots, tight: true }, 384) <= blocksOf({ slots, tight: false }, 384));
  }
});

test("what a tie advises is within the page's reach", () => {
  const { Tally } = tallies, tally = new Tally();
  tally.waited = true;
  [[0, [0, 1]], [1, [0, 1, 2, 3]], [2, [2, 3]]].forEach(([id, given]) => {
    tally.given.set(id, given);
    tally.admitted.set(id, given[0]);
    tally.finished.set(id, given.at(-1));
  });
  const lane = (policy, tight) => ({ name: policy, policy, summary: "", slots: 2, tight, tally, outputs: [[1, 2], [1, 2, 3, 4], [1, 2]] });
  const advice = (tight) => nothingToWin(["continuous", "orca"].map((policy) => lane(policy, tight)));
  const [ample, less] = advice(false);
  assert.equal(ample, "verdict.nothing_memory");
  assert.deepEqual(less.advice[1].what[1].kv_tokens, ["page.choice", { knob: ["page.memory", {}], value: ["page.tight", {}] }]);
  const [tight, others] = advice(true);
  assert.equal(tight, "verdict.nothing_memory");
  assert.deepEqual(others.advice, ["verdict.try", { what: ["verdict.try_others", {}] }], "tight memory cannot be made tighter here");
});
