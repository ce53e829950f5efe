/* What computes a step: the seam between the loop and the model, as `cbviz/core/executor.py` has it. */
import { Llama } from "./llama.js";
/** @import { Config } from "./llama.js" */
/** @import { Weights } from "./weights.js" */

/** @typedef {{slot: number, tokens: number[]}} Seat a request takes a slot; `tokens` are those known so far */
/**
 * One forward pass: row r feeds positions start … start + count - 1 of its slot; `draws` says whether it yields a token.
 * @typedef {{seats: Seat[], rows: {slot: number, start: number, count: number, draws: boolean}[]}} Step
 */

/** Computes steps and decides nothing. */
export class Executor {
  /** @param {Config} config @param {Weights} weights @param {number} slots @param {Uint8Array<ArrayBuffer> | null} kernel */
  constructor(config, weights, slots, kernel) {
    this.model = new Llama(config, weights, slots, kernel);
    this.contextLimit = config.max_position_embeddings;
    this.endTokens = [config.eos_token_id];
    /** Token ids of each slot by position. @type {number[][]} */
    this.tokens = Array.from({ length: slots }, () => []);
  }

  /** The token of each row; -1 where the row yields none. @param {Step} step @returns {number[]} */
  launch({ seats, rows }) {
    for (const { slot, tokens } of seats) this.tokens[slot] = [...tokens];
    /** @type {[number[], number[], number[], boolean[], number[]]} */
    const [slots, positions, tokens, draws, rowOf] = [[], [], [], [], []];
    rows.forEach(({ slot, start, count, draws: last }, row) => {
      for (let position = start; position < start + count; position++) {
        slots.push(slot);
        positions.push(position);
        tokens.push(this.tokens[slot][position]);
        draws.push(last && position === start + count - 1);
        rowOf.push(row);
      }
    });
    const given = rows.map(() => -1);
    this.model.forward(slots, positions, tokens, draws, (at, logits) => {
      const { slot, start, count } = rows[rowOf[at]];
      given[rowOf[at]] = this.tokens[slot][start + count] = mostLikely(logits);
    });
    return given;
  }
}

/** Greedy sampling: the first of the most likely tokens. @param {Float32Array} logits */
export function mostLikely(logits) {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (logits[token] > logits[best]) best = token;
  return best;
}
