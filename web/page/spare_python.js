/* A worker in which Python is up before a race needs it. A race takes it and ends with it, so that no scheduler meets what an earlier one left behind; the next one starts as soon as the race is over. */
import { workerOf, workerText } from "./live_race.js";
/** @import { PythonParts } from "./python_parts.js" */

export class SparePython {
  /** @param {string} code the engine's */
  constructor(code) {
    this.code = code;
    /** @type {Worker | null} */
    this.worker = null;
    this.started = false;
  }

  /** Starts Python in a worker, if none is there or on its way. Throws where no worker can be made. @param {PythonParts} python */
  warm({ runtime, wasm, library, sources }) {
    if (this.worker) return;
    const worker = workerOf(workerText(this.code, "") + runtime, "module"); // Pyodide starts in modules alone
    this.worker = worker;
    this.say(false);
    worker.onmessage = ({ data }) => data.type === "started" && this.say(true);
    worker.onerror = () => {
      worker.terminate();
      this.worker = null; // the race makes another one, and says what is wrong with it
      this.say(false);
    };
    worker.postMessage({ type: "python", python: { wasm, library, sources } });
  }

  /** Gives the worker away, and whether Python is up in it. @param {PythonParts} python @returns {{worker: Worker, started: boolean}} */
  take(python) {
    this.warm(python);
    const taken = { worker: /** @type {Worker} */ (this.worker), started: this.started };
    this.worker = null;
    this.say(false);
    return taken;
  }

  /** @param {boolean} started */
  say(started) {
    this.started = started;
    document.body.dataset.spare = started ? "up" : this.worker ? "starting" : "none";
  }
}
