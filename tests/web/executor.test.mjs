import assert from "node:assert/strict";
import { test } from "node:test";

import { kernel, load, read, weightsOfTiny } from "./served.mjs";

const { Arena } = await load("executor/arena.js");
const { fastMatmul, plainMatmul, whole } = await load("executor/matmul.js");
const { runsHere } = await load("executor/simd.js");
const { Weights } = await load("executor/weights.js");
const { Tokenizer } = await load("executor/tokenizer.js");
const { Executor, mostLikely } = await load("executor/executor.js");
const { Random } = await load("workload/random.js");

for (const [rows, inner, outer] of [[4, 4, 2], [1, 192, 64], [5, 192, 512], [8, 512, 192], [64, 192, 100]]) {
  test(`the kernel and plain JavaScript multiply ${rows} × ${inner} by ${inner} × ${outer} as float64 does`, () => {
    const arena = new Arena(whole(rows) * (inner + outer) + inner * outer + 12, true);
    const [x, w, y] = [arena.floats(whole(rows) * inner), arena.floats(outer * inner), arena.floats(whole(rows) * outer)];
    x.forEach((_, i) => (x[i] = i < rows * inner ? Math.sin(i) : 0));
    w.forEach((_, i) => (w[i] = Math.cos(3 * i)));
    for (const matmul of [fastMatmul(kernel, arena), plainMatmul]) {
      y.fill(NaN);
      matmul(x, w, y, rows, inner, outer);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < outer; column++) {
          let sum = 0;
          for (let k = 0; k < inner; k++) sum += x[row * inner + k] * w[column * inner + k];
          assert.ok(Math.abs(y[row * outer + column] - sum) < 1e-6 * inner, `${row}, ${column}`);
        }
      }
    }
  });
}

test("a kernel that is no WebAssembly does not run here", () => {
  assert.equal(runsHere(kernel), true);
  assert.equal(runsHere(new Uint8Array([1, 2, 3])), false);
  const { WebAssembly } = globalThis;
  try {
    globalThis.WebAssembly = { ...WebAssembly, validate: () => true, Module: class { constructor() { throw new Error("forbidden"); } } };
    assert.equal(runsHere(kernel), false, "a content security policy may forbid compiling");
    delete globalThis.WebAssembly;
    assert.equal(runsHere(kernel), false);
  } finally {
    globalThis.WebAssembly = WebAssembly;
  }
});

test("without a kernel that runs, the model computes in plain JavaScript and says so", () => {
  const made = new Executor(read("config.json"), new Weights(weightsOfTiny()), 1, new Uint8Array([0]));
  assert.equal(made.model.simd, false);
});

test("weights that are cut or foreign are refused in one sentence", () => {
  assert.throws(() => new Weights(new Uint8Array(3)), /cut or foreign: they hold no safetensors header\.$/);
  assert.throws(() => new Weights(new Uint8Array(64).fill(255)), /cut or foreign/);
  const whole = weightsOfTiny();
  const cut = new Weights(whole.subarray(0, whole.length - 2));
  const last = Object.keys(cut.header).filter((name) => name !== "__metadata__").sort((a, b) => cut.header[b].data_offsets[1] - cut.header[a].data_offsets[1])[0];
  assert.throws(() => cut.read(last, new Float32Array(cut.size(last))), /is not \d+ numbers in bfloat16\.$/);
});

test("one character is one token, and what the model does not know is one token as well", () => {
  const tokenizer = new Tokenizer(read("tokenizer.json"));
  assert.deepEqual(tokenizer.encode("Ab"), [37, 70, 3]);
  assert.deepEqual(tokenizer.encode("é字😀"), [2, 2, 2, 3]);
  assert.equal([37, 70, 1, 0].map((token) => tokenizer.text(token)).join(""), "Ab");
  assert.equal(tokenizer.text(12_345), "");
});

test("the first of the most likely tokens is taken", () => {
  assert.equal(mostLikely(new Float32Array([1, 3, 3, 2])), 1);
});

test("a slot that a request leaves forgets it", () => {
  const executor = new Executor(read("config.json"), new Weights(weightsOfTiny()), 1, kernel);
  const tokenizer = new Tokenizer(read("tokenizer.json"));
  const answer = (prompt) => {
    const tokens = tokenizer.encode(prompt);
    let text = "";
    let given = executor.launch({ seats: [{ slot: 0, tokens }], rows: [{ slot: 0, start: 0, count: tokens.length, draws: true }] });
    for (let at = tokens.length; given[0] !== 1; at++) {
      text += tokenizer.text(given[0]);
      given = executor.launch({ seats: [], rows: [{ slot: 0, start: at, count: 1, draws: true }] });
    }
    return text;
  };
  assert.deepEqual(["Count to 12", "Spell cat", "Spell cat"].map(answer), ["1 2 3 4 5 6 7 8 9 10 11 12", "c-a-t", "c-a-t"]);
});

test("the generator gives Python's numbers", () => {
  const random = new Random(0); // random.Random(0).random() twice, then randrange(10) and getrandbits(32)
  assert.equal(random.random(), 0.8444218515250481);
  assert.equal(random.random(), 0.7579544029403025);
});
