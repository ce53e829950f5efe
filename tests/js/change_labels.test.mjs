import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const { labelPlaces } = await load("change_labels");

test("a label stands right of its line, and left of it where the next line or the edge is too near", () => {
  assert.deepEqual(labelPlaces([100], [60], 400), [103]);
  assert.deepEqual(labelPlaces([100, 380], [60, 90], 400), [103, 287]);
  assert.deepEqual(labelPlaces([100, 130], [60, 60], 400), [37, 133], "the next line is too near");
});

test("a label without room is left out whole, as is one whose line is out of sight", () => {
  assert.deepEqual(labelPlaces([20, 40, 60], [80, 80, 80], 400), [null, null, 63]);
  assert.deepEqual(labelPlaces([-10, 410], [60, 60], 400), [null, null]);
  assert.deepEqual(labelPlaces([5], [240], 200), [null]);
});

test("no two labels overlap, and none is cut by an edge", () => {
  for (let seed = 1; seed < 200; seed++) {
    const random = (n) => (seed * 7919 + n * 104729) % 997;
    const lines = [0, 1, 2, 3, 4].map((n) => random(n) % 500).sort((a, b) => a - b);
    const widths = lines.map((_, n) => 20 + (random(n + 9) % 150));
    const boxes = labelPlaces(lines, widths, 400).flatMap((x, n) => (x === null ? [] : [[x, x + widths[n]]]));
    for (const [n, [left, right]] of boxes.entries()) {
      assert.ok(left >= 0 && right <= 400);
      assert.ok(n === 0 || left >= boxes[n - 1][1]);
    }
  }
});
