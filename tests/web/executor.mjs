// Python's half is test_page_executor.py: logits of prompts, with the kernel and without.
import { given, kernel, load, read, weightsOfTiny } from "./served.mjs";

const { sequences } = given();
const { Weights } = await load("executor/weights.js");
const { Llama } = await load("executor/llama.js");
const weights = new Weights(weightsOfTiny());
const config = read("config.json");

/** Logits of the last token of every sequence: all of them in one pass, then the last token of each alone. */
function logits(kernelOrNull) {
  const model = new Llama(config, weights, sequences.length, kernelOrNull);
  const rows = sequences.flatMap((tokens, slot) => tokens.map((token, position) => ({ slot, position, token, last: position === tokens.length - 1 })));
  const pass = (some) => {
    const found = [];
    model.forward(some.map((r) => r.slot), some.map((r) => r.position), some.map((r) => r.token), some.map((r) => r.last), (row, numbers) => (found[some[row].slot] = [...numbers]));
    return found;
  };
  return { simd: model.simd, together: pass(rows), alone: pass(rows.filter((r) => r.last)) };
}

process.stdout.write(JSON.stringify({ fast: logits(kernel), plain: logits(null) }));
