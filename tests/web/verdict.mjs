// Python's half is test_page_verdict.py: what the page says of races whose answers are given; a clock counts.
import { Replay } from "./replay.mjs";
import { given, load, read } from "./served.mjs";

const { facts, races, answers } = given();
const { Tokenizer } = await load("executor/tokenizer.js");
const { allTasks } = await load("workload/tasks.js");
const { byLength, taskWorkload } = await load("workload/task_workload.js");
const { Engine } = await load("engine/loop.js");
const { POLICIES } = await load("engine/policies.js");
const { Tally } = await load("measure/tally.js");
const { fixed, ratioOf, twoDigits } = await load("measure/numbers.js");
const { verdict } = await load("measure/verdict.js");
const { Wild } = await import("./wild.mjs");

const tokenizer = new Tokenizer(read("tokenizer.json"));
const lengths = byLength(allTasks(facts));

function served(policy, options, name, { slots, blocks, requests, seed, tick, changed }) {
  const replay = new Replay(answers[`${requests} ${seed}`]);
  const drawn = taskWorkload(lengths, (prompt) => tokenizer.encode(prompt), requests, seed);
  let ticks = 0;
  const engine = new Engine(replay, policy === "wild" ? new Wild() : POLICIES[policy](options), { slots, blocks, blockSize: 16 }, () => tick * ticks++);
  engine.submit(drawn);
  const tally = new Tally();
  for (let event = engine.step(); event; event = engine.step()) tally.add(event);
  const outputs = drawn.map(({ id }) => engine.state.live(id).output);
  if (changed) outputs[0] = [...outputs[0].slice(0, -1), 5];
  return { name, policy, summary: "", slots, tally, outputs };
}

const verdicts = races.map((race) => verdict(race.lanes.map(([policy, options, name], i) => served(policy, options, name, { ...race, changed: race.changed && i === 1 }))));
process.stdout.write(JSON.stringify({ verdicts, fixed: [2.125, 2.375, 2.625, 0.5, 1.005, 17, 0].map((value) => [fixed(value, 2), twoDigits(value), ratioOf(value)]) }));
