/* The worker: it computes, and hears the page between iterations. A worker serves one race; Python may be up long before it. */
import { said } from "../engine/errors.js";
import { block } from "../engine/pack.js";
import { Tokenizer } from "../executor/tokenizer.js";
import { Weights } from "../executor/weights.js";
import { byLength, taskWorkload } from "../workload/task_workload.js";
import { allTasks } from "../workload/tasks.js";
import { learnedPolicy } from "./learned.js";
import { pythonPolicy, startedPython } from "./python_policy.js";
import { Serving, YOURS } from "./serving.js";
/** @import { Policy } from "../engine/check.js" */
/** @import { Facts } from "../workload/tasks.js" */
/** @import { Bridge, SentPython } from "./python_policy.js" */
/** @import { Model, Options } from "./serving.js" */

/** The model as it comes from the page. @typedef {{config: any, tokenizer: any, facts: Facts, weights: ArrayBuffer, kernel: ArrayBuffer | null}} Sent */

/** Milliseconds of computing between two looks at the messages. */
const TURN = 25;

/** The way to the page. A scheduler must not find it: what it has to say is its plan. @type {(message: Record<string, any>, transferred?: Transferable[]) => void} */
let send;

/** Tells the page that a scheduler plans or the engine computes: only a plan has to be there within seconds. @param {"plans" | "computes"} what */
const does = (what) => send({ type: "does", what });

/** Runs what was written in the page. @template T @param {() => T} act @returns {T} */
function theirs(act) {
  does("plans");
  try {
    return act();
  } finally {
    does("computes");
  }
}

/** A scheduler that was written in the page; the page hears when it plans. @param {() => Policy} make @returns {Policy} */
function watched(make) {
  const policy = theirs(make);
  return { ...policy, plan: (view) => theirs(() => policy.plan(view)) };
}

/** One race, as far as it has come. */
class Race {
  /** @param {Sent} sent @param {Options} options @param {() => Policy} yours */
  constructor(sent, options, yours) {
    this.serving = new Serving(modelOf(sent), options, yours);
    this.learned = options.lanes.includes(YOURS);
    this.paused = false;
    this.over = false;
    this.turns = new MessageChannel();
    this.turns.port1.onmessage = () => this.turn();
    send({ type: "begun", simd: this.serving.simd, blocks: this.serving.opening() });
    this.turns.port2.postMessage(null);
  }

  /** Computes for a while, tells the page, and lets messages in. */
  turn() {
    if (this.over || this.paused) return;
    const began = performance.now();
    does("computes");
    this.guarded(() => {
      do {
        this.serving.step();
        if (this.learned) {
          this.tell(); // the next plan may never end, and the page would not hear of this iteration
          does("computes"); // a lane without such a plan may be next, and take as long as the machine needs
        }
      } while (!this.serving.over && performance.now() - began < TURN);
    });
    if (!this.over) this.turns.port2.postMessage(null);
  }

  /** @param {() => void} act */
  guarded(act) {
    try {
      act();
      this.tell();
      if (this.serving.over) this.end(false);
    } catch (error) {
      this.tell();
      this.end(true, said(error));
    }
  }

  tell() {
    const blocks = this.serving.news();
    send({ type: "frame", blocks }, blocks.map(({ buffer }) => buffer));
  }

  /** A race that ended early has no result; the page says how far it came. @param {boolean} stopped @param {string} [note] why, if the page did not ask for it */
  end(stopped, note = "") {
    this.over = true;
    send({ type: "ended", stopped, note, blocks: stopped ? [] : [block({ kind: "meta", meta: { finish: this.serving.outcome() } })] });
  }

  /** @param {string} action */
  obey(action) {
    if (this.over) return;
    if (action === "stop") this.end(true);
    if (action === "pause") this.paused = true;
    if (action === "step" && this.paused) this.guarded(() => this.serving.step());
    if (action !== "resume" || !this.paused) return;
    this.paused = false;
    this.turns.port2.postMessage(null);
  }
}

/** @param {Sent} sent @returns {Model} */
function modelOf({ config, tokenizer: file, facts, weights, kernel }) {
  const tokenizer = new Tokenizer(file);
  const lengths = byLength(allTasks(facts));
  return {
    config,
    tokenizer,
    weights: new Weights(new Uint8Array(weights)),
    kernel: kernel && new Uint8Array(kernel),
    draw: (requests, seed) => taskWorkload(lengths, (prompt) => tokenizer.encode(prompt), requests, seed),
  };
}

/** @type {Race | null} */
let race = null;

/** Python, once the page has asked for it. @type {Promise<Bridge> | null} */
let python = null;

/** Starts Python, and tells the page when it is up. If it cannot start, the race that needs it says why. @param {SentPython} sent */
function startPython(sent) {
  python = startedPython(sent);
  python.then(
    () => send({ type: "started" }),
    () => undefined,
  );
}

/** Makes the race; one with a scheduler in Python waits until that is up. @param {{model: Sent, options: Options, text: string}} start */
async function start({ model, options, text }) {
  try {
    const bridge = await python;
    race = new Race(model, options, () => watched(() => (bridge ? pythonPolicy(bridge, text) : learnedPolicy())));
  } catch (error) {
    send({ type: "ended", stopped: true, note: said(error), blocks: [] });
  }
}

/** Hears the page, one message after the other: what it asks of a race that is still being made waits for it. */
export function begin() {
  const world = /** @type {any} */ (globalThis);
  send = world.postMessage.bind(world);
  delete world.postMessage;
  let before = Promise.resolve();
  world.addEventListener("message", (/** @type {MessageEvent} */ { data }) => {
    if (data.type === "python") startPython(data.python);
    else if (race) race.obey(data.action);
    else before = before.then(() => (data.type === "start" ? start(data) : race?.obey(data.action)));
  });
}
