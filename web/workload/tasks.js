/* Every task that a workload can draw, as `cbviz/workload/tasks.py` lists them: a question and its one right answer. */

/** @typedef {{kind: string, prompt: string, answer: string}} Task */
/**
 * What the tasks are made of; `tools/build_page.py` takes it from the Python module.
 * @typedef {{words: string[], states: Record<string, string>, countries: Record<string, string>, months: string[], days: string[], mostCounted: number, mostRepeats: number}} Facts
 */

/** @param {number} first @param {number} last @param {number} [step] below 0 counts down */
function numbers(first, last, step = 1) {
  const all = [];
  for (let n = first; step > 0 ? n <= last : n >= last; n += step) all.push(n);
  return all.join(" ");
}

/** All tasks, each prompt once, in the order of `catalogue()`. @param {Facts} facts @returns {Task[]} */
export function allTasks(facts) {
  /** @type {Map<string, Task>} */
  const tasks = new Map();
  const add = (/** @type {string} */ kind, /** @type {string} */ prompt, /** @type {string} */ answer) => tasks.set(prompt, { kind, prompt, answer });
  for (const places of [facts.states, facts.countries]) for (const place of Object.keys(places)) add("capital", `The capital of ${place}?`, { ...facts.countries, ...facts.states }[place]);
  for (const word of namedWords(facts)) {
    add("spell", `Spell ${word}`, [...word].join("-"));
    add("shout", `Shout ${word}`, word.toUpperCase());
    add("letters", `How many letters in ${word}?`, String(word.length));
  }
  for (const word of facts.words) {
    add("reverse", `Reverse ${word}`, [...word].reverse().join(""));
    add("sort", `Sort ${word}`, [...word].sort().join(""));
  }
  for (const word of ["ab", "ha", "la", "abc", ...facts.words.filter((word) => word.length <= 5)]) {
    for (let times = 0; times <= facts.mostRepeats; times++) add("repeat", `Repeat ${word} ${times} times`, Array(times).fill(word).join(" "));
  }
  addCounts(facts.mostCounted, add);
  const alphabet = [..."abcdefghijklmnopqrstuvwxyz"];
  for (const [kind, title, names] of /** @type {[string, string, string[]][]} */ ([["alphabet", "Alphabet", alphabet], ["months", "Months", facts.months], ["days", "Days", facts.days]])) {
    names.forEach((start, i) => names.slice(i + 1).forEach((end, j) => add(kind, `${title} from ${start} to ${end}`, names.slice(i, i + j + 2).join(" "))));
  }
  for (let a = 0; a < 100; a += 7) for (let b = 0; b < 100; b += 3) add("plus", `${a} plus ${b}?`, String(a + b));
  return [...tasks.values()];
}

/** @param {number} most @param {(kind: string, prompt: string, answer: string) => void} add */
function addCounts(most, add) {
  for (let last = 1; last <= most; last++) add("count to", `Count to ${last}`, numbers(1, last));
  for (let first = 0; first <= most; first++) {
    for (let last = first + 1; last <= most; last++) {
      add("count from", `Count from ${first} to ${last}`, numbers(first, last));
      add("count down", `Count down from ${last} to ${first}`, numbers(last, first, -1));
    }
  }
  for (let step = 2; step <= 12; step++) for (let last = step; last <= most; last += step) add("count by", `Count by ${step} to ${last}`, numbers(step, last, step));
}

/** The words, then the names of one word, sorted. @param {Facts} facts */
function namedWords({ words, states, countries }) {
  const names = [states, countries].flatMap((places) => [...Object.keys(places), ...Object.values(places)]);
  return [...words, ...[...new Set(names.filter((name) => !name.includes(" ")))].sort()];
}
