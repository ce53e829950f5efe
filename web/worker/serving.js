/* A race: the lanes take turns, one iteration each, and the lane whose clock is behind runs next (as in `cbviz/run/race_run.py`). */
import { Engine } from "../engine/loop.js";
import { LaneEncoder, block, requestsBlock } from "../engine/pack.js";
import { POLICIES } from "../engine/policies.js";
import { Executor } from "../executor/executor.js";
import { Tally } from "../measure/tally.js";
import { identical, verdict } from "../measure/verdict.js";
/** @import { Policy } from "../engine/check.js" */
/** @import { Iteration } from "../engine/loop.js" */
/** @import { Config } from "../executor/llama.js" */
/** @import { Tokenizer } from "../executor/tokenizer.js" */
/** @import { Weights } from "../executor/weights.js" */
/** @import { Request } from "../workload/task_workload.js" */

/** The built-in model, and what draws its workloads. @typedef {{config: Config, weights: Weights, tokenizer: Tokenizer, kernel: Uint8Array<ArrayBuffer> | null, draw: (requests: number, seed: number) => Request[]}} Model */
/** What the page asks for; a lane "yours" has the policy that was written there. @typedef {{slots: number, requests: number, seed: number, tight: boolean, lanes: string[]}} Options */

const BLOCK_SIZE = 16;
/** The lane whose policy was written in the page. */
export const YOURS = "yours";

/** KV blocks of each lane: every slot can hold the longest request, or about a fifth of that. @param {Options} options @param {number} context */
export function blocksOf({ slots, tight }, context) {
  const longest = Math.ceil(context / BLOCK_SIZE);
  return tight ? Math.max(longest, Math.ceil((slots * longest) / 5)) : slots * longest;
}

/** One lane: its engine, what it has produced, and what was not sent yet. */
class ServedLane {
  /** @param {number} number @param {Policy} policy @param {Model} model @param {Options} options @param {Request[]} requests */
  constructor(number, policy, { config, weights, kernel }, options, requests) {
    const executor = new Executor(config, weights, options.slots, kernel);
    this.simd = executor.model.simd;
    this.policy = policy;
    this.blocks = blocksOf(options, executor.contextLimit);
    this.engine = new Engine(executor, policy, { slots: options.slots, blocks: this.blocks, blockSize: BLOCK_SIZE });
    this.engine.submit(requests);
    this.encoder = new LaneEncoder(number, options.slots);
    this.tally = new Tally();
    /** @type {Iteration[]} */
    this.unsent = [];
    this.over = false;
  }

  /** Runs one iteration. */
  step() {
    const event = this.engine.step();
    if (!event) {
      this.over = true;
      return;
    }
    this.tally.add(event);
    this.unsent.push(event);
  }

  /** @param {Tokenizer} tokenizer @returns {Uint8Array<ArrayBuffer> | null} */
  encode(tokenizer) {
    if (!this.unsent.length) return null;
    const bytes = this.encoder.encode(this.unsent, (token) => tokenizer.text(token));
    this.unsent = [];
    return bytes;
  }
}

/** A race from its first iteration to its last. */
export class Serving {
  /** @param {Model} model @param {Options} options @param {() => Policy} yours the policy that was written in the page */
  constructor(model, options, yours) {
    this.tokenizer = model.tokenizer;
    this.options = options;
    this.requests = model.draw(options.requests, options.seed);
    this.lanes = options.lanes.map((name, number) => new ServedLane(number, name === YOURS ? yours() : POLICIES[name](), model, options, this.requests));
    this.simd = this.lanes.every(({ simd }) => simd);
  }

  /** Titles, lanes and prompts: what a board must know before the first iteration. */
  opening() {
    const { slots, requests, seed } = this.options;
    const dotted = (/** @type {any[]} */ ...parts) => parts.reduce((first, second) => ["board.dotted", { first, second }]);
    const meta = {
      title: ["page.live_title", {}],
      subtitle: dotted("tiny", ["board.subtitle_slots", { n: slots, count: String(slots) }], ["board.subtitle_requests", { n: requests, count: String(requests) }], ["board.subtitle_seed", { seed }]),
      lanes: this.lanes.map(({ policy, blocks }, i) => ({
        name: this.names[i],
        summary: policy.summary,
        slots,
        total_blocks: blocks,
      })),
      finish: null,
    };
    return [block({ kind: "meta", meta }), requestsBlock(this.requests)];
  }

  /** Whether every lane has served everything. */
  get over() {
    return this.lanes.every((lane) => lane.over);
  }

  /** Runs one iteration of the lane whose clock is behind. */
  step() {
    const going = this.lanes.filter((lane) => !lane.over);
    going.reduce((behind, lane) => (lane.engine.now < behind.engine.now ? lane : behind)).step();
  }

  /** What happened since the last call, as blocks. */
  news() {
    return this.lanes.flatMap((lane) => lane.encode(this.tokenizer) ?? []);
  }

  /** The lanes' names; equal ones get numbers, as in `cbviz/measure/lane_names.py`. */
  get names() {
    const names = this.lanes.map(({ policy }) => policy.name);
    /** @type {string[]} */
    const found = [];
    for (const name of names) {
      let title = name;
      if (names.filter((other) => other === name).length > 1) for (let n = 1; found.includes(title) || names.includes(title); n++) title = `${name} #${n}`;
      found.push(title);
    }
    return found;
  }

  /** The result of a race that has ended, as `Outcome` of `cbviz/view/summary.py` gives it to the board. */
  outcome() {
    const { names } = this;
    const lanes = this.lanes.map(({ engine, policy, tally }, i) => ({ name: names[i], policy: policy.name, summary: policy.summary, slots: this.options.slots, tight: this.options.tight, tally, outputs: this.requests.map(({ id }) => engine.state.live(id).output) }));
    const answers = lanes.length > 1 ? { identical: identical(lanes), compared: this.requests.length } : { identical: 0, compared: 0 };
    return { ...answers, clock: "lane", stopped: false, note: "", ...verdict(lanes) };
  }
}
