import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const { duration, number, percent, roughly, twoDigits } = await load("numbers");

test("numbers and durations are written as the language does", () => {
  assert.equal(number("en", 12345.678, 1), "12,345.7");
  assert.equal(number("en", NaN), "–");
  assert.equal(duration("en", 0.0061), "6.1 ms");
  assert.equal(duration("en", 0.134), "0.13 s");
  assert.equal(duration("en", 200), "3 min 20 s");
  assert.equal(duration("zh", 12.34), "12.3 秒");
  assert.equal(duration("en", null), "–");
  const measured = [0.0061, 0.0384, 0.0996, 0.134, 1.639, 12.34, 200].map((seconds) => roughly("en", seconds));
  assert.deepEqual(measured, ["6.1 ms", "38 ms", "0.10 s", "0.13 s", "1.6 s", "12 s", "200 s"], "two digits, for it was measured once");
  assert.deepEqual([roughly("en", 0), roughly("en", null), twoDigits("en", 1639), twoDigits("en", 0.994), twoDigits("en", 0)], ["0 s", "–", "1,600", "0.99", "0"]);
});

test("shares are percentages, and formatters of different digits are not confused", () => {
  assert.equal(percent("en", 0.5), "50%");
  assert.equal(percent("en", 0.1234, 1), "12.3%");
  assert.equal(percent("en", 0.1234), "12%");
  assert.equal(percent("zh", NaN), "–");
  assert.equal(number("en", 0.1234), "0");
  assert.equal(duration("en", 0), "0 s");
  assert.equal(duration("en", 0.05), "50 ms");
});
