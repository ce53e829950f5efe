import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const { duration, number, percent } = await load("numbers");

test("numbers and durations are written as the language does", () => {
  assert.equal(number("en", 12345.678, 1), "12,345.7");
  assert.equal(number("en", NaN), "–");
  assert.equal(duration("en", 0.0061), "6.1 ms");
  assert.equal(duration("en", 0.134), "0.13 s");
  assert.equal(duration("en", 200), "3 min 20 s");
  assert.equal(duration("zh", 12.34), "12.3 秒");
  assert.equal(duration("en", null), "–");
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
