/* Draws tasks whose output lengths follow an exponential law: `task_workload` of `cbviz/workload/tasks.py`, draw for draw. */
import { Random } from "./random.js";
/** @import { Task } from "./tasks.js" */

/**
 * A request as the engine takes it.
 * @typedef {{id: number, prompt: number[], max_new_tokens: number, arrival: number, text: string, answer: string}} Request
 */

/** The most tokens of any answer, END included. */
const ANSWER_ROOM = 320;
/** Mean of the law in output tokens. */
const MEAN = 40;

/** The tasks by output length (a token a character, and END), then by kind. @param {Task[]} tasks */
export function byLength(tasks) {
  /** @type {Map<number, Map<string, Task[]>>} */
  const lengths = new Map();
  for (const task of tasks) {
    const length = task.answer.length + 1;
    const kinds = lengths.get(length) ?? new Map();
    lengths.set(length, kinds);
    if (!kinds.has(task.kind)) kinds.set(task.kind, []);
    kinds.get(task.kind)?.push(task);
  }
  return lengths;
}

/**
 * The requests of one seed; all arrive at 0. One draw from each of `requests` equally likely slices of the law, in random
 * order; each gets a task with an answer of about that length, of the kind drawn least so far.
 * @param {Map<number, Map<string, Task[]>>} lengths
 * @param {(prompt: string) => number[]} encode
 * @param {number} requests
 * @param {number} seed
 * @returns {Request[]}
 */
export function taskWorkload(lengths, encode, requests, seed) {
  const random = new Random(seed);
  const targets = Array.from({ length: requests }, (_, i) => -MEAN * Math.log(1 - (i + random.random()) / requests));
  random.shuffle(targets);
  /** @type {Set<string>} */
  const asked = new Set();
  /** @type {Map<string, number>} */
  const times = new Map();
  return targets.map((target, id) => {
    const choices = closeTasks(lengths, target, asked);
    const kind = leastDrawn([...choices.keys()], times, random);
    const task = random.choice(choices.get(kind) ?? []);
    asked.add(task.prompt);
    times.set(kind, (times.get(kind) ?? 0) + 1);
    return { id, prompt: encode(task.prompt), max_new_tokens: ANSWER_ROOM, arrival: 0, text: task.prompt, answer: task.answer };
  });
}

/** The kind that was drawn least so far; a draw for each decides between equals. @param {string[]} kinds @param {Map<string, number>} times @param {Random} random */
function leastDrawn(kinds, times, random) {
  const ranked = kinds.map((kind) => ({ kind, drawn: times.get(kind) ?? 0, lot: random.random() }));
  return ranked.reduce((least, other) => (other.drawn < least.drawn || (other.drawn === least.drawn && other.lot < least.lot) ? other : least)).kind;
}

/** By kind, the tasks with answers closest to `target` tokens, or within a tenth; new prompts only, while there are any. @param {Map<number, Map<string, Task[]>>} lengths @param {number} target @param {Set<string>} asked */
function closeTasks(lengths, target, asked) {
  const nearest = Math.min(...[...lengths.keys()].map((length) => Math.abs(length - target)));
  const off = Math.max(target / 10, nearest);
  /** @type {Map<string, Task[]>} */
  const close = new Map();
  for (const [length, kinds] of lengths) {
    if (Math.abs(length - target) > off) continue;
    for (const [kind, tasks] of kinds) close.set(kind, [...(close.get(kind) ?? []), ...tasks]);
  }
  const fresh = new Map([...close].map(([kind, tasks]) => [kind, tasks.filter(({ prompt }) => !asked.has(prompt))]));
  for (const [kind, tasks] of fresh) if (!tasks.length) fresh.delete(kind);
  return fresh.size ? fresh : close;
}
