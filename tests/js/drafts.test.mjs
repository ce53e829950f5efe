import assert from "node:assert/strict";
import { test } from "node:test";
import { block, iterations } from "./encode.mjs";
import { load } from "./modules.mjs";
import { canvasContext } from "./page.mjs";

const { Axis } = await load("axis");
const { Brushes } = await load("brushes");
const { Lane } = await load("lane");
const { laneHeights } = await load("layout");
const { paintRows } = await load("paint");
const { requestAt } = await load("request");
const { THEMES } = await load("theme");
const { decodeBlock } = await load("wire");

const DRAWN = { rows: [["PDDD", "0000"]], marks: [[0, 0, 0, -1], [1, 0, 0, 0], [2, 3, 0, 0, "end"]] };

/** A lane whose slot checked 3 drafts in iteration 1 and accepted 2, and 1 in iteration 3, rejected. */
function drafting(cells = [[1, 0, 3, 2], [3, 0, 1, 0]]) {
  const lane = new Lane({ name: "a k=3", slots: 1 });
  const { header, arrays } = decodeBlock(iterations(DRAWN));
  const column = (n) => Int32Array.from(cells.map((cell) => cell[n]));
  const drafts = { draft_iteration: column(0), draft_slot: column(1), draft_checked: column(2), draft_accepted: column(3) };
  assert.equal(lane.append(header, { ...arrays, ...drafts }), "taken");
  return lane;
}

test("an accepted draft is a token more, and its cell has the text of all", () => {
  const lane = drafting();
  assert.equal(lane.counters(4).generated, 6);
  assert.equal(lane.counters(2).generated, 4);
  const seen = requestAt(lane, 0, 4);
  assert.equal(seen.tokens, 6);
  assert.equal(seen.text, "0@0 0@1 0@2 0@3 ");
  assert.deepEqual(seen.drafts, { checked: 4, accepted: 2 });
  assert.deepEqual(requestAt(lane, 0, 3).drafts, { checked: 3, accepted: 2 });
  assert.deepEqual([lane.draftsAt(0, 1), lane.draftsAt(0, 2)], [{ checked: 3, accepted: 2 }, null]);
  assert.deepEqual([lane.accepts, lane.rejects], [true, true]);
  assert.ok(Math.abs(seen.tpot - 0.03 / 5) < 1e-12, "several tokens at once share the time");
});

test("a block that is known already adds no draft twice", () => {
  const lane = drafting();
  const { header, arrays } = decodeBlock(iterations(DRAWN));
  assert.equal(lane.append(header, arrays), "old");
  assert.equal(lane.counters(4).generated, 6);
});

test("rejected drafts are painted, and a lane without drafts has none", () => {
  const scene = (lane) => ({
    lane, axis: new Axis("iterations", 0, 20), heights: laneHeights(1, 1, true), width: 600, brushes: new Brushes(THEMES.light, 1), font: "Test",
    lit: -1, language: "en", from: 0, to: 600, draft: false, lanes: 1, label: String,
  });
  const painted = (lane) => {
    const ctx = canvasContext();
    paintRows(ctx, scene(lane));
    return ctx.painted.length;
  };
  const plain = new Lane({ name: "a", slots: 1 });
  const { header, arrays } = decodeBlock(iterations(DRAWN));
  plain.append(header, arrays);
  assert.deepEqual([plain.accepts, plain.rejects, plain.draftsAt(0, 1)], [false, false, null]);
  // Two cells with a rejected share, and two notches for what was accepted.
  assert.equal(painted(drafting()) - painted(plain), 4);
  assert.equal(painted(drafting([[1, 0, 2, 2]])) - painted(plain), 2);
});

test("the columns of drafts are read from the bytes", () => {
  const bytes = block({ kind: "iterations", n: 0 }, { draft_iteration: ["i4", [4]], draft_accepted: ["i4", [2]] });
  assert.deepEqual([...decodeBlock(bytes).arrays.draft_accepted], [2]);
});
