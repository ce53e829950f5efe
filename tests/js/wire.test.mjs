import assert from "node:assert/strict";
import { test } from "node:test";
import { block } from "./encode.mjs";
import { load } from "./modules.mjs";

const { bytesOf, decodeBlock } = await load("wire");

test("a block is read back as it was written", () => {
  const bytes = block({ kind: "x", lane: 1 }, { a: ["f8", [0.5, -1]], b: ["i4", [7]], c: ["u1", [1, 2, 255]] });
  const padded = new Uint8Array(bytes.length + 3);
  padded.set(bytes, 3); // an offset that no typed array could start at
  const { header, arrays, next } = decodeBlock(padded, 3);
  assert.equal(header.kind, "x");
  assert.deepEqual([...arrays.a], [0.5, -1]);
  assert.deepEqual([...arrays.b], [7]);
  assert.deepEqual([...arrays.c], [1, 2, 255]);
  assert.equal(next, padded.length);
});

test("cut or foreign bytes are refused", () => {
  const bytes = block({ kind: "x" }, { a: ["f8", [1, 2, 3]] });
  for (const length of [0, 8, 20, bytes.length - 1]) assert.throws(() => decodeBlock(bytes.subarray(0, length)), /cut or foreign/);
  const foreign = bytes.slice();
  foreign[0] = 88;
  assert.throws(() => decodeBlock(foreign), /cut or foreign/);
});

test("lengths that contradict each other are refused", () => {
  const good = block({ kind: "x" }, { a: ["f8", [1, 2, 3]] });
  const spoilt = (at, value) => {
    const bytes = good.slice();
    new DataView(bytes.buffer).setUint32(at, value, true);
    return bytes;
  };
  for (const length of [0, 15, good.length + 8, 0xffffffff]) assert.throws(() => decodeBlock(spoilt(4, length)), /cut or foreign/, `a block of ${length} bytes`);
  for (const head of [good.length - 15, 0xffffffff]) assert.throws(() => decodeBlock(spoilt(8, head)), /cut or foreign/, `a header of ${head} bytes`);
  assert.throws(() => decodeBlock(spoilt(4, good.length - 8)), /cut or foreign/, "an array that reaches beyond its block");
});

test("blocks follow one another, and what is read does not change with the message's buffer", () => {
  const blocks = [block({ kind: "x" }, { a: ["u1", [1, 2, 3, 4, 5]] }), block({ kind: "y" }, { a: ["i4", [6, 7, 8]] })];
  const bytes = Uint8Array.from(blocks.flatMap((part) => [...part]));
  const first = decodeBlock(bytes);
  const second = decodeBlock(bytes, first.next);
  bytes.fill(0);
  assert.deepEqual([...first.arrays.a], [1, 2, 3, 4, 5]);
  assert.deepEqual([...second.arrays.a], [6, 7, 8]);
  assert.equal(second.next, bytes.length);
});

test("bytes are taken from whatever a host hands over", () => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  assert.deepEqual([...bytesOf(new DataView(bytes.buffer, 1, 2))], [2, 3]);
  assert.deepEqual([...bytesOf(bytes.buffer)], [1, 2, 3, 4]);
  assert.deepEqual([...bytesOf(bytes)], [1, 2, 3, 4]);
  assert.equal(bytesOf(undefined).length, 0);
});
