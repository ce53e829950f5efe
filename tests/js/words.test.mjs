import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const words = await load("words");

test("the board says its lines of the catalogue", () => {
  assert.equal(words.say("zh", "waiting", { n: 3 }), "3 个等待");
  assert.throws(() => words.say("en", "nonsense"), /no words/);
});

test("a setting is said in words where there are any, and as it is where there are none", () => {
  assert.equal(words.setting("en", "slots", "8"), "8 slots");
  assert.equal(words.setting("zh", "slots", "8"), "8 个槽位");
  assert.equal(words.setting("en", "rate", "2.5"), "2.5 arrivals in 100 iterations");
  assert.equal(words.setting("en", "policy", "my own"), "my own");
  assert.equal(words.setting("en", "budget", "7"), "budget 7");
  assert.equal(words.setting("en", "toString", "x"), "toString x");
  assert.equal(words.changeInWords("en", { words: "slots = 8", before: "" }), "8 slots");
  assert.equal(words.changeInWords("en", { words: "slots = 4", before: "8" }), "slots 8 → 4");
  assert.equal(words.changeInWords("zh", { words: "slots = 4", before: "8" }), "槽位 8 → 4");
  assert.equal(words.changeInWords("en", { words: "budget = 4", before: "8" }), "budget 8 → 4");
  assert.equal(words.changeInWords("en", { words: "policy = a = b", before: "" }), "a = b", "a value may hold the sign");
});

test("every reason for an end has words, and an unknown one is called so", () => {
  for (const why of ["end", "stop", "length", "cancelled", "", "something new"]) assert.ok(words.say("en", words.endWords(why)));
  assert.equal(words.endWords("something new"), "why_");
});
