import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { SECONDS, story } from "./story.mjs";

const { Axis } = await load("axis");
const { LINE, hitTest, laneHeights } = await load("layout");

test("a point finds slot, iteration and span on both axes", () => {
  const lane = story({ seconds: SECONDS });
  const heights = laneHeights(2, 1, true);
  const y = heights.top + heights.pitch * 1.5;
  assert.deepEqual(hitTest(lane, new Axis("iterations", 0, 10), heights, 35, y), { slot: 1, iteration: 3, span: lane.spanAt(1, 3) });
  assert.deepEqual(hitTest(lane, new Axis("seconds", 0, 100), heights, 30, y), { slot: 1, iteration: 2, span: lane.spanAt(1, 2) });
  assert.equal(hitTest(lane, new Axis("iterations", 0, 10), heights, 101, y), null);
  assert.equal(hitTest(lane, new Axis("iterations", 0, 10), heights, 35, heights.top + heights.rows + 1), null);
});

test("rows fit from one slot to hundreds, and two lanes of eight in little height", () => {
  for (const slots of [1, 8, 64, 256]) for (const lanes of [1, 2, 4]) {
    const heights = laneHeights(slots, lanes, false);
    assert.ok(heights.pitch >= 2 && heights.pitch <= 26 && heights.gap < heights.pitch);
    assert.equal(heights.rows, heights.pitch * slots);
    assert.ok(heights.height < laneHeights(slots, lanes, true).height, "the axis is below the last lane");
  }
  assert.ok(laneHeights(8, 2, false).height + laneHeights(8, 2, true).height <= 390);
  assert.ok(laneHeights(8, 2, true).pitch >= LINE, "with room for words");
});

test("a board with knobs has lower rows of up to eight slots, still with room for words", () => {
  const [plain, knobs] = [false, true].map((with_) => laneHeights(8, 2, true, with_));
  assert.equal(plain.height - knobs.height, 8);
  assert.ok(knobs.pitch >= LINE);
  assert.deepEqual(laneHeights(64, 2, true, true), laneHeights(64, 2, true, false));
});
