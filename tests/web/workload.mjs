// Python's half is test_page_workload.py: all tasks, and workloads of many seeds.
import { given, load, read } from "./served.mjs";

const { facts, draws } = given();
const { Tokenizer } = await load("executor/tokenizer.js");
const { allTasks } = await load("workload/tasks.js");
const { byLength, taskWorkload } = await load("workload/task_workload.js");
const tokenizer = new Tokenizer(read("tokenizer.json"));
const tasks = allTasks(facts);
const lengths = byLength(tasks);
const workloads = draws.map(([requests, seed]) => taskWorkload(lengths, (prompt) => tokenizer.encode(prompt), requests, seed));
process.stdout.write(JSON.stringify({ tasks: tasks.map(({ kind, prompt, answer }) => [kind, prompt, answer]), workloads }));
