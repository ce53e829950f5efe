import assert from "node:assert/strict";
import { test } from "node:test";
import { iterations, meta, requests } from "./encode.mjs";
import { load } from "./modules.mjs";
import { STORY, story } from "./story.mjs";

const { Run } = await load("run");
const { requestAt } = await load("request");

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
  assert.equal(requestAt(run.lanes[0], 2, 10).text, requestAt(whole, 2, 10).text);
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

test("blocks travel together or alone, titles may come later, and every block raises the version", () => {
  const run = new Run();
  const parts = [meta([{ name: "a", slots: 2 }]), iterations({ ...STORY, to: 4 }), iterations({ ...STORY, from: 4 })];
  assert.equal(run.add(Uint8Array.from(parts.flatMap((part) => [...part]))), true);
  assert.deepEqual(run.have(), [10]);
  const before = run.version;
  run.add(meta([{ name: "other", slots: 9 }], { title: "U", finish: { speedup: 2 } }));
  assert.ok(run.version > before);
  assert.deepEqual([run.meta.title, run.meta.finish.speedup, run.lanes[0].name], ["U", 2, "a"], "lanes stay what they are");
});
