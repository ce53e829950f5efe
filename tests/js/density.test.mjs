import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { SECONDS, laneOf, story } from "./story.mjs";

const { Axis } = await load("axis");
const { coarse, columnEdges } = await load("density");
const { DECODE, HELD } = await load("states");

test("columns of many iterations keep each state's share of the area", () => {
  // 240 iterations in 12 columns of 20: alternately 3 decoded and 1 held.
  const drawing = ["DDDH".repeat(60), "0".repeat(240)];
  const lane = laneOf({ rows: [drawing] });
  const axis = new Axis("iterations", 0, 1 / 20);
  const edges = columnEdges(lane, axis, 14, 1);
  const parts = 4;
  const state = new Uint8Array(14 * parts);
  const request = new Int32Array(14);
  coarse(lane, 0, edges, parts, state, request);
  const count = (wanted) => state.reduce((sum, value) => sum + (value === wanted ? 1 : 0), 0);
  assert.equal(count(DECODE), 12 * 3);
  assert.equal(count(HELD), 12 * 1);
  assert.equal(count(255), 2 * parts, "nothing beyond the run");
  assert.equal(request[0], 0);
  // With one pixel a column the shares hold over neighbouring columns.
  const thin = new Uint8Array(12);
  const sums = [];
  for (let slot = 0; slot < 4; slot++) {
    coarse(laneOf({ rows: Array(4).fill(drawing) }), slot, edges.slice(0, 13), 1, thin, request);
    sums.push(thin.filter((value) => value === HELD).length);
  }
  assert.equal(sums.reduce((a, b) => a + b), 12, "a quarter of 48");
});

test("column edges are iterations on both axes, and lie outside before the run begins", () => {
  const lane = story({ seconds: SECONDS });
  assert.deepEqual([...columnEdges(lane, new Axis("iterations", 2, 4), 2, 2)], [2, 2.5, 3]);
  const edges = columnEdges(lane, new Axis("seconds", -0.1, 100), 3, 10);
  assert.deepEqual([edges[0], edges[1]], [-1, 0]);
  assert.ok(Math.abs(edges[2] - 1) < 1e-9 && edges[3] > 2);
});
