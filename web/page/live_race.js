/* The page's end of one live race: a worker that computes, and a board's host that controls it. */
import { Run } from "../../cbviz/view/js/run.js";
import { SettingsError } from "./options.js";
/** @import { Host } from "../../cbviz/view/js/view.js" */
/** @import { Settings } from "./options.js" */

/** Milliseconds that the worker has to stop by itself; then it is ended, and what it sent is kept. */
const TO_STOP = 60;
/** Messages of a worker since its race last advanced, at which it is ended. */
const MOST_SAID = 20_000;
/** Milliseconds between two looks at a worker, and looks in a row at a plan that does not come, after which it is ended. A tab that sleeps does not look, so waking up is no silence. */
const LOOK = 250;
const SILENT_LOOKS = 16;

/** What the worker needs beside the settings. @typedef {{code: string, model: Record<string, any>}} Parts */
/**
 * What a race tells the page. `note` is a sentence of the engine, `key` one of the page's.
 * @typedef {{begun: (race: LiveRace) => void, changed: () => void, ended: (how: {stopped: boolean, note: string, key: string, facts: Record<string, any>}) => void}} Listener
 */

/** What a race that ended early says: how far each lane came, as in `cbviz/measure/verdict.py`. @param {Run} run @param {string} note */
export function soFar(run, note) {
  const lines = run.lanes.map((lane, i) => {
    const counts = { done: numeral(lane.counters(lane.n).finished), all: numeral(run.total(i)), n: lane.n, count: numeral(lane.n) };
    return ["verdict.so_far", { policy: lane.name, ...counts }];
  });
  return { stopped: true, note, lines: [["verdict.stopped", {}], ...lines], timed: run.lanes.every((lane) => lane.secondsAt(lane.n) >= 1) };
}

/** @param {number} value */
const numeral = (value) => value.toLocaleString("en-US");

/** The text of a worker: the written scheduler first, so that the lines of its errors are its own, then the engine. @param {string} code @param {string} written */
export const workerText = (code, written) => `globalThis.written = function () { "use strict";\n${written}\n; return { plan: typeof plan === "undefined" ? undefined : plan, name: typeof name === "undefined" ? "" : name }; };\n(() => {\n${code}\n})();\n`;

/** A worker of the text. Throws a SettingsError where none can be made. @param {string} text @param {WorkerType} type */
export function workerOf(text, type) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return new Worker(address, { type });
  } catch {
    throw new SettingsError("worker_failed");
  } finally {
    URL.revokeObjectURL(address);
  }
}

export class LiveRace {
  /** Throws a SettingsError where no worker can be made. @param {Parts} parts @param {{worker: Worker, started: boolean} | null} python for a scheduler in Python: a worker in which that is up, or starting @param {Settings} settings @param {Listener} listener */
  constructor({ code, model }, python, settings, listener) {
    this.listener = listener;
    this.run = new Run();
    this.status = "running";
    this.simd = true;
    /** Looks in a row at which the worker had said nothing, and messages since the race last advanced. */
    this.silent = 0;
    this.said = 0;
    /** Whether a scheduler of the reader's own is in the race, and whether the engine computes, which takes as long as the machine needs. */
    this.watched = settings.lanes.includes("yours");
    this.computes = true;
    /** Lines of the scheduler's text. */
    this.lines = settings.code.split("\n").length;
    this.began = performance.now();
    /** Milliseconds from the start to the first iteration; NaN before it. */
    this.untilFirst = NaN;
    /** Whether Python is starting, which takes as long as the machine needs. */
    this.starting = python?.started === false;
    const { slots, requests, seed, tight, lanes } = settings;
    this.worker = python?.worker ?? workerOf(workerText(code, lanes.includes("yours") ? settings.code : ""), "classic");
    this.worker.onmessage = ({ data }) => this.message(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.broken(event);
    };
    this.worker.postMessage({ type: "start", model, text: settings.code, options: { slots, requests, seed, tight, lanes } });
    this.looking = setInterval(() => this.look(), LOOK);
  }

  /** @param {Record<string, any>} data */
  message(data) {
    if (this.over) return;
    this.silent = 0;
    this.computes = data?.what === "computes";
    if (++this.said > MOST_SAID) this.end("", "no_race");
    if (data?.type === "does") return;
    try {
      for (const bytes of data.blocks ?? []) this.run.add(bytes);
      if (data.blocks?.length) this.said = 0;
    } catch {
      this.end("", "no_race");
      return;
    }
    if (data.type === "started") this.starting = false;
    if (data.type === "begun") {
      this.simd = data.simd === true;
      this.listener.begun(this);
    }
    if (data.type === "frame" && Number.isNaN(this.untilFirst) && this.run.have().some((n) => n > 0)) this.untilFirst = performance.now() - this.began;
    if (data.type === "ended") this.end(String(data.note ?? ""), "", data.stopped === true);
    else this.listener.changed();
  }

  /** The worker's text is no script, or something in it was not caught. @param {ErrorEvent} event */
  broken({ message = "", lineno, colno }) {
    const error = message.replace(/^Uncaught /, "");
    if (!error) this.end("", "worker_failed");
    else if (!this.watched || !error.startsWith("SyntaxError")) this.end(error, "");
    // The first line of the worker's text is ours, and what lies behind the last one is the engine's.
    else if (lineno - 1 > this.lines) this.end("", "no_javascript_end", true, { error });
    else this.end("", "no_javascript", true, { error, line: lineno - 1, column: colno });
  }

  get over() {
    return this.status === "finished" || this.status === "stopped";
  }

  /** Ends a worker whose scheduler gives no plan, or takes the time between its plans. */
  look() {
    if (!this.watched || this.computes || this.status === "paused" || this.starting || this.over) return;
    this.silent++;
    if (this.silent > SILENT_LOOKS) this.end("", "endless");
  }

  /** The race is over, and its worker with it. @param {string} note @param {string} key @param {boolean} [stopped] @param {Record<string, any>} [facts] of the key */
  end(note, key, stopped = true, facts = {}) {
    if (this.over) return;
    this.status = stopped ? "stopped" : "finished";
    clearInterval(this.looking);
    clearTimeout(this.stopping);
    this.worker.terminate();
    if (stopped) this.run.meta = { ...this.run.meta, finish: soFar(this.run, note) };
    this.run.version++;
    this.listener.changed();
    this.listener.ended({ stopped, note, key, facts });
  }

  /** @param {string} action */
  control(action) {
    if (this.over) return;
    this.worker.postMessage({ type: "control", action });
    this.silent = 0;
    if (action === "pause") this.status = "paused";
    if (action === "resume") this.status = "running";
    if (action === "stop") {
      this.status = "stopping";
      this.stopping = setTimeout(() => this.end("", ""), TO_STOP);
    }
    this.listener.changed();
  }

  /** What the board controls. @returns {Host} */
  host() {
    return {
      state: () => ({ status: this.status, actions: ["pause", "resume", "step", "stop"], knobs: [], refusal: "" }),
      send: (message) => this.control(String(message.action)),
    };
  }
}
