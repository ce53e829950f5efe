import assert from "node:assert/strict";
import { test } from "node:test";
import { load, sources } from "./modules.mjs";

const words = await load("words");

test("both languages have every word, with the same blanks", () => {
  const blanks = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort().join(" ");
  assert.deepEqual(Object.keys(words.WORDS.en).sort(), Object.keys(words.WORDS.zh).sort());
  for (const key of Object.keys(words.WORDS.en)) {
    if (key === "speed_title") continue;
    assert.equal(blanks(words.WORDS.en[key]), blanks(words.WORDS.zh[key]), key);
  }
  assert.equal(words.say("zh", "waiting", { n: 3 }), "3 个等待");
  assert.throws(() => words.say("en", "nonsense"), /no words/);
  assert.ok(!JSON.stringify(words.WORDS.zh).includes("推断"), "inference is 推理");
});

test("no word is kept that the board never says", () => {
  const { "words.js": own, ...others } = sources();
  const code = own.slice(own.indexOf("export function say(")) + Object.values(others).join("\n");
  const built = /^(why_|clock_|set_)|_title$/; // put together from the name of a state or of a control
  const silent = Object.keys(words.WORDS.en).filter((key) => !built.test(key) && !new RegExp(`["'\`]${key}["'\`]`).test(code));
  assert.deepEqual(silent, []);
});

test("a setting is said in words where there are any, and as it is where there are none", () => {
  assert.equal(words.setting("en", "slots", "8"), "8 slots");
  assert.equal(words.setting("zh", "slots", "8"), "8 个槽位");
  assert.equal(words.setting("en", "rate", "2.5"), "2.5 arrivals in 100 iterations");
  assert.equal(words.setting("en", "policy", "my own"), "my own");
  assert.equal(words.setting("en", "budget", "7"), "budget 7");
  assert.equal(words.setting("en", "toString", "x"), "toString x");
  assert.equal(words.changeInWords("en", "slots = 8"), "8 slots");
  assert.equal(words.changeInWords("en", "policy = a = b"), "a = b", "a value may hold the sign");
});

test("every reason for an end has words, and an unknown one is called so", () => {
  for (const why of ["end", "stop", "length", "cancelled", "", "something new"]) assert.ok(words.say("en", words.endWords(why)));
  assert.equal(words.endWords("something new"), "why_");
});
