/* The page: the recorded race plays at once; once the model has arrived, a race runs live, with schedulers of the reader's own. */
import { nextLanguage, sentence } from "../../cbviz/view/js/catalogue.js";
import { Editor } from "./editor.js";
import { Form, byId } from "./form.js";
import { fragmentOf, settingsOf } from "./fragment.js";
import { LiveRace } from "./live_race.js";
import { PYTHON, SettingsError, USUAL } from "./options.js";
import { dataOf, modelParts } from "./parts.js";
import { pythonParts } from "./python_parts.js";
import { SparePython } from "./spare_python.js";
import { Stage } from "./stage.js";
import { Story } from "./story.js";
import { pageLine, speakPage, spoken } from "./words.js";
/** @import { Parts } from "./live_race.js" */
/** @import { PythonParts } from "./python_parts.js" */

class Page {
  constructor() {
    this.stage = new Stage(byId("stage"));
    this.story = new Story();
    this.form = new Form();
    this.editor = new Editor();
    this.start = /** @type {HTMLButtonElement} */ (byId("start"));
    this.stop = /** @type {HTMLButtonElement} */ (byId("stop"));
    /** @type {Parts | null} */
    this.parts = null;
    /** @type {PythonParts | null} */
    this.python = null;
    /** @type {SparePython | null} */
    this.spare = null;
    /** @type {LiveRace | null} */
    this.race = null;
    /** How often a race was asked for. */
    this.turn = 0;
    /** The sentence that is shown: how it is said in the language of the moment. @type {() => string} */
    this.status = () => pageLine("loading");
    this.form.show(USUAL);
    this.start.disabled = true;
    this.listen();
  }

  listen() {
    this.start.addEventListener("click", () => this.run());
    this.stop.addEventListener("click", () => this.race?.control("stop"));
    byId("again").addEventListener("click", () => this.stage.showRecorded());
    byId("language").addEventListener("click", () => this.stage.board?.switchLanguage());
    byId("race-yours").addEventListener("click", () => this.runYours());
    byId("share").addEventListener("click", () => this.share());
    byId("written-in").addEventListener("change", () => this.editor.isPython && this.getPython());
    window.addEventListener("hashchange", () => this.open());
    // The board has a switch of its own: the page follows it.
    new MutationObserver(() => this.follow()).observe(byId("stage"), { attributes: true, subtree: true, attributeFilter: ["data-language"] });
  }

  /** The recorded race at once; the model when it has arrived. */
  async begin() {
    this.open();
    this.speak();
    this.stage.showRecorded(await dataOf("recorded"));
    await this.story.begin();
    try {
      if (typeof Worker !== "function") throw new SettingsError("no_worker");
      this.parts = await modelParts();
      this.spare = new SparePython(this.parts.code);
      if (this.python) this.spare.warm(this.python); // chosen before the model was here
      this.start.disabled = false;
      /** @type {HTMLButtonElement} */ (byId("race-yours")).disabled = false;
      if (!this.shared) this.tell(() => pageLine(typeof WebAssembly === "object" ? "ready" : "ready_slow"));
      document.body.dataset.ready = "true";
    } catch (error) {
      this.refuse(error);
    }
  }

  /** Settings and a scheduler from the address: shown, and not run. */
  open() {
    try {
      const settings = settingsOf(location.hash);
      if (!settings) return;
      this.shared = true;
      this.form.show(settings);
      if (settings.code) this.editor.show(settings.language, settings.code);
      this.tell(() => pageLine("shared"));
      byId("write").scrollIntoView();
    } catch (error) {
      this.shared = true;
      this.refuse(error);
    }
  }

  async run() {
    const settings = this.settings();
    if (!this.parts || !settings) return;
    const turn = ++this.turn; // a second press while Python loads is the one that counts
    const python = settings.lanes.includes("yours") && settings.language === PYTHON ? await this.getPython() : null;
    if (python === undefined || turn !== this.turn) return;
    this.race?.end("", "");
    const up = python && this.spare ? this.spare.take(python) : null;
    this.race = new LiveRace(this.parts, up, settings, { begun: (race) => this.begun(race), changed: () => this.changed(), ended: (how) => this.ended(how) });
    this.tell(() => pageLine(up?.started === false ? "python_starting" : "computing"));
    this.changed();
  }

  /** What is chosen and written; null if it is wrong, which the page says. */
  settings() {
    try {
      return this.form.settings(this.editor.written());
    } catch (error) {
      this.refuse(error);
      return null;
    }
  }

  /** Python, which is loaded once, and starts at once; undefined if there is none, which the page says. */
  async getPython() {
    try {
      if (!this.python) this.tell(() => pageLine("python_loading"));
      this.python = await pythonParts();
      this.spare?.warm(this.python);
      this.tell(() => pageLine("python_ready"));
      return this.python;
    } catch (error) {
      this.refuse(error);
      return undefined;
    }
  }

  /** The scheduler of the editor takes the last lane, if no lane has it yet. */
  runYours() {
    const { lanes } = this.form;
    if (!lanes.some((lane) => lane.value === "yours")) (lanes[2].value ? lanes[2] : lanes[1]).value = "yours";
    this.run();
  }

  /** @param {LiveRace} race */
  begun(race) {
    this.stage.showLive(race);
    this.tell(() => pageLine("computing"));
    byId("stage").scrollIntoView({ block: "nearest" });
  }

  changed() {
    const going = this.race !== null && !this.race.over;
    this.stop.disabled = !going;
    document.body.dataset.race = this.race?.status ?? "none";
    document.body.dataset.first = Number.isNaN(this.race?.untilFirst ?? NaN) ? "" : String(Math.round(this.race?.untilFirst ?? 0));
    this.stage.board?.refresh();
  }

  /** @param {{stopped: boolean, note: string, key: string}} how */
  ended({ stopped, note, key }) {
    this.changed();
    if (this.python) this.spare?.warm(this.python);
    if (note || key) this.tell(() => note || pageLine(key), true);
    else this.tell(() => pageLine(stopped ? "stopped" : "finished"));
  }

  async share() {
    try {
      history.replaceState(null, "", fragmentOf(this.form.settings(this.editor.written()))); // no hashchange: the link is our own
      await navigator.clipboard?.writeText(location.href).catch(() => undefined);
      this.tell(() => pageLine("link_made"));
    } catch (error) {
      this.refuse(error);
    }
  }

  /** @param {unknown} error */
  refuse(error) {
    const { key, facts } = error instanceof SettingsError ? error : { key: "failed", facts: { error: String(error).slice(0, 200) } };
    this.tell(() => pageLine(key, facts), true);
  }

  /** @param {() => string} status @param {boolean} [wrong] */
  tell(status, wrong = false) {
    this.status = status;
    for (const id of ["status", "status-yours"]) {
      byId(id).textContent = status();
      byId(id).classList.toggle("wrong", wrong);
    }
  }

  follow() {
    const language = this.stage.board?.view.language;
    if (!language || language === spoken.now) return;
    spoken.now = language;
    if (this.story.board && this.story.board.view.language !== language) this.story.board.switchLanguage();
    this.speak();
  }

  speak() {
    speakPage();
    byId("language").textContent = sentence(nextLanguage(spoken.now), "language.name");
    this.form.speak();
    this.story.speak();
    for (const id of ["status", "status-yours"]) byId(id).textContent = this.status();
  }
}

/** Brings the page to life. */
export const begin = () => new Page().begin();
