// Python's half is test_page_engine.py: every case is served by the page's engine, and by its model unless the answers are
// given; a clock that counts makes the times comparable.
import { createHash } from "node:crypto";

import { Replay } from "./replay.mjs";
import { given, kernel, load, read, weightsOfTiny } from "./served.mjs";

const { facts, cases, answers } = given();
const { Weights } = await load("executor/weights.js");
const { Executor } = await load("executor/executor.js");
const { Tokenizer } = await load("executor/tokenizer.js");
const { allTasks } = await load("workload/tasks.js");
const { byLength, taskWorkload } = await load("workload/task_workload.js");
const { Engine } = await load("engine/loop.js");
const { POLICIES } = await load("engine/policies.js");
const { LaneEncoder } = await load("engine/pack.js");
const { Wild } = await import("./wild.mjs");

/** The state of a slot that takes in its prompt. */
const PREFILL = 1;
const config = read("config.json");
const weights = new Weights(weightsOfTiny());
const tokenizer = new Tokenizer(read("tokenizer.json"));
const lengths = byLength(allTasks(facts));
const executors = new Map();

/** One model for each number of slots: its cache needs no cleaning. */
function executorFor(slots) {
  if (!executors.has(slots)) executors.set(slots, new Executor(config, weights, slots, kernel));
  return executors.get(slots);
}

function row(event) {
  const marks = (all) => all.map(({ request, slot, reason }) => [request, slot, reason]);
  return [
    event.index, event.request, event.state, event.tokens, event.context, event.token, event.allotted, event.arrived, marks(event.admitted),
    marks(event.preempted), marks(event.stalled), marks(event.finished), event.waiting, event.blocks_used, event.blocks_reserved, event.blocks_total,
  ];
}

const served = cases.map(({ policy, options, slots, blocks, requests, seed, whole, replayed }) => {
  let ticks = 0;
  const engine = new Engine(replayed ? new Replay(answers[`${requests} ${seed}`]) : executorFor(slots), policy === "wild" ? new Wild() : POLICIES[policy](options), { slots, blocks, blockSize: 16 }, () => ticks++);
  engine.submit(taskWorkload(lengths, (prompt) => tokenizer.encode(prompt), requests, seed));
  const events = [];
  for (let event = engine.step(); event; event = engine.step()) events.push(event);
  const rows = events.map(row);
  const digest = createHash("sha256").update(JSON.stringify(rows)).digest("hex");
  const encoder = new LaneEncoder(0, slots);
  const blocksOfRun = [encoder.encode(events.slice(0, 5), (token) => tokenizer.text(token)), encoder.encode(events.slice(5), (token) => tokenizer.text(token))];
  const preempted = events.reduce((sum, event) => sum + event.preempted.length, 0);
  const chunked = events.reduce((sum, event) => sum + event.state.filter((state, slot) => state === PREFILL && event.token[slot] < 0).length, 0);
  return { iterations: rows.length, digest, preempted, chunked, rows: whole ? rows : null, bytes: whole ? blocksOfRun.map((bytes) => Buffer.from(bytes).toString("base64")) : null };
});
process.stdout.write(JSON.stringify(served));
