/* The scheduler that was written in Python: Pyodide asks it, with the referee of `cbviz.policies`; `web/python/bridge.py` is its other end. */
import { PolicyError } from "../engine/errors.js";
import { vouched } from "../engine/reason.js";
/** @import { Policy } from "../engine/check.js" */
/** @import { RequestView, View } from "../engine/view.js" */

/** Pyodide and what runs in it, as they come from the page. @typedef {{wasm: ArrayBuffer, library: ArrayBuffer, sources: Record<string, string>}} SentPython */
/** The functions of `web/python/bridge.py`. @typedef {{make: (text: string) => string, plan: (number: number, view: string) => string}} Bridge */

/** Where the sources are in Pyodide's file system. */
const ROOT = "/page";
/** Pyodide's files have an address, and are given from memory: a worker of the page has no network. */
const INDEX = "pyodide:/";

/** Starts Python. @param {SentPython} sent @returns {Promise<Bridge>} */
export async function startedPython({ wasm, library, sources }) {
  const python = await pyodide({ "pyodide.asm.wasm": wasm, "python_stdlib.zip": library });
  for (const [path, source] of Object.entries(sources)) {
    const file = `${ROOT}/${path}`;
    python.FS.mkdirTree(file.slice(0, file.lastIndexOf("/")));
    python.FS.writeFile(file, source);
  }
  python.runPython(`import sys; sys.path.insert(0, ${JSON.stringify(ROOT)})`);
  return python.pyimport("bridge");
}

/** The scheduler of a text. Throws a PolicyError that says what is wrong with it. @param {Bridge} bridge @param {string} text @returns {Policy} */
export function pythonPolicy(bridge, text) {
  const answered = (/** @type {string} */ json) => {
    const answer = JSON.parse(json);
    if (answer.refused !== undefined) throw PolicyError.named(answer.refused);
    return answer;
  };
  const { number, name, summary } = answered(bridge.make(text));
  return { name, summary, plan: (view) => planOf(answered(bridge.plan(number, JSON.stringify(seen(view))))) };
}

/** @param {Record<string, ArrayBuffer>} files @returns {Promise<any>} */
async function pyodide(files) {
  const world = /** @type {any} */ (globalThis);
  const { fetch } = world;
  world.fetch = async (/** @type {URL | string} */ address) => {
    const name = String(address).split("/").at(-1) ?? "";
    return new Response(files[name], { headers: { "content-type": name.endsWith(".wasm") ? "application/wasm" : "application/zip" } });
  };
  try {
    return await world.startPyodide({ indexURL: INDEX });
  } finally {
    world.fetch = fetch;
  }
}

/** A view as JSON writes it. @param {View} view */
function seen({ waiting, running, finished, ...fields }) {
  return { ...fields, waiting: waiting.map(rowOf), running: running.map(rowOf), finished: finished.map(rowOf) };
}

/** What the bridge calls `FIELDS` (web/python/bridge.py). @param {RequestView} request */
const rowOf = ({ id, arrival, prompt_tokens, max_new_tokens, generated, computed, slot, admitted, preemptions, blocks }) => [id, arrival, prompt_tokens, max_new_tokens, generated, computed, slot, admitted, preemptions, blocks];

/** The checked plan as the engine reads plans. @param {Record<string, any>} given */
const planOf = ({ admit, preempt, pause, chunk, ...rest }) => ({ ...rest, admit: admit.map((/** @type {any} */ entry) => ({ ...entry, reason: kept(entry.reason) })), preempt: keptAll(preempt), pause: keptAll(pause), chunk: new Map(chunk) });

/** @param {[number, any][]} given */
const keptAll = (given) => new Map(given.map(([request, why]) => [request, kept(why)]));

/** A reason that Python's `Reason` has checked, or text. @param {any} why */
const kept = (why) => (Array.isArray(why) ? vouched(/** @type {[string, any]} */ (why)) : why);
