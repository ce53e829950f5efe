import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { laneOf, story } from "./story.mjs";

const { answerAt, tail } = await load("answers");

test("beside a slot is what its request has written so far, and the last answer once it is free", () => {
  const lane = story();
  const text = (slot, k) => {
    const seen = answerAt(lane, slot, k);
    return seen && [seen.request, seen.kind, seen.pieces.slice(0, seen.tokens).join("")];
  };
  assert.equal(answerAt(lane, 0, 0), null);
  assert.deepEqual(text(0, 3), [0, "writes", "0@0 0@1 0@2 "]);
  assert.deepEqual(text(1, 3), [2, "reads", "2@2 "]);
  assert.deepEqual(text(1, 8), [2, "stalled", "2@2 2@3 2@6 "]);
  assert.deepEqual(text(0, 9), [0, "ended", "0@0 0@1 0@2 0@3 "]);
});

test("a held slot counts the iterations that it burns", () => {
  const lane = laneOf({ rows: [["DDHHHH", "000000"], ["DDDDDD", "111111"]] });
  assert.deepEqual([3, 6].map((k) => [answerAt(lane, 0, k).kind, answerAt(lane, 0, k).burned]), [["held", 1], ["held", 4]]);
  assert.equal(answerAt(lane, 1, 6).burned, 0);
});

test("the newest words stay in sight, wide characters count twice, and nothing turns the text around", () => {
  assert.deepEqual(tail(["one ", "two ", "three"], 3, 20), { text: "one two three", whole: true });
  assert.deepEqual(tail(["one ", "two ", "three"], 2, 20), { text: "one two ", whole: true });
  assert.deepEqual(tail(["one ", "two ", "three"], 3, 6), { text: "… three", whole: false });
  assert.equal(tail(["一二三四五六"], 1, 6).text, "…四五六");
  assert.equal(tail(["a\n\nb\tc"], 1, 20).text, "a b c");
  assert.equal(tail(["\u202Eabc"], 1, 40).text, "⟨U+202E⟩abc");
});
