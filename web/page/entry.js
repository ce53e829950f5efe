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
    this.back = /** @type {HTMLButtonElement} */ (byId("again"));
    /** @type {Parts | null} */
    this.parts = null;
    /** @type {PythonParts | null} */
    this.python = null;
    /** @type {SparePython | null} */
    this.spare = null;
    /** @type {LiveRace | null} */
    this.race = null;
    /** Whether the page has more to say than that the model is ready: a link was opened, or something did not come. */
    this.quiet = false;
    /** How often a race was asked for. */
    this.turn = 0;
    /** The sentence that is shown: how it is said in the language of the moment. @type {() => string} */
    this.status = () => pageLine("loading");
    /** The last sentence about Python: it goes when the reader turns to JavaScript. @type {(() => string) | null} */
    this.ofPython = null;
    this.form.show(USUAL);
    this.start.disabled = true;
    this.listen();
  }

  listen() {
    this.start.addEventListener("click", () => this.run());
    this.stop.addEventListener("click", () => this.race?.control("stop"));
    this.back.addEventListener("click", () => this.again());
    byId("language").addEventListener("click", () => (this.stage.board ? this.stage.board.switchLanguage() : this.turnTo(nextLanguage(spoken.now))));
    byId("race-yours").addEventListener("click", () => this.runYours());
    byId("share").addEventListener("click", () => this.share());
    byId("written-in").addEventListener("change", () => (this.editor.isPython ? this.getPython() : this.status === this.ofPython && this.ready()));
    window.addEventListener("hashchange", () => this.open());
    // The board has a switch of its own: the page follows it.
    new MutationObserver(() => this.follow()).observe(byId("stage"), { attributes: true, subtree: true, attributeFilter: ["data-language"] });
  }

  /** The recorded race at once; the model when it has arrived. */
  async begin() {
    this.open();
    this.speak();
    for (const part of [() => this.record(), () => this.story.begin(), () => this.model()]) {
      try {
        await part();
      } catch (error) {
        this.quiet = true;
        this.refuse(error); // what else the page has still comes
      }
    }
  }

  async record() {
    this.stage.showRecorded(await dataOf("recorded"));
  }

  async model() {
    if (typeof Worker !== "function") throw new SettingsError("no_worker");
    this.parts = await modelParts();
    this.spare = new SparePython(this.parts.code);
    this.warm(); // Python was chosen before the model was here
    this.start.disabled = false;
    /** @type {HTMLButtonElement} */ (byId("race-yours")).disabled = false;
    if (!this.quiet) this.ready();
    document.body.dataset.ready = "true";
  }

  /** Says that the model can run, or is still to come. */
  ready() {
    this.tell(() => pageLine(!this.parts ? "loading" : this.parts.model.kernel ? "ready" : "ready_slow"));
  }

  /** Starts Python in a spare worker, if it has been chosen. */
  warm() {
    try {
      if (this.python) this.spare?.warm(this.python);
    } catch {
      return; // the race that needs it says why there is no worker
    }
  }

  /** Settings and a scheduler from the address: shown, and not run. */
  open() {
    try {
      const settings = settingsOf(location.hash);
      if (!settings) return;
      this.quiet = true;
      this.form.show(settings);
      this.editor.show(settings.language, settings.code || undefined);
      this.tell(() => pageLine("shared"));
      byId("write").scrollIntoView();
    } catch (error) {
      this.quiet = true;
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
    try {
      const up = python && this.spare ? this.spare.take(python) : null;
      this.race = new LiveRace(this.parts, up, settings, { begun: (race) => this.begun(race), changed: () => this.changed(), ended: (how) => this.ended(how) });
      this.tell(() => pageLine(up?.started === false ? "python_starting" : "computing"));
      this.changed();
    } catch (error) {
      this.refuse(error);
    }
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
      this.warm();
      this.tell(() => pageLine("python_ready"));
      return this.python;
    } catch (error) {
      this.refuse(error);
      return undefined;
    } finally {
      this.ofPython = this.status;
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

  /** The recorded race, where it is in sight. */
  again() {
    this.stage.showRecorded();
    byId("stage").scrollIntoView({ block: "nearest" });
  }

  changed() {
    const going = this.race !== null && !this.race.over;
    this.stop.disabled = !going;
    this.back.disabled = going; // a race that is out of sight would go on
    const status = this.race?.status ?? "none";
    const turned = document.body.dataset.race !== status;
    document.body.dataset.race = status;
    document.body.dataset.first = Number.isNaN(this.race?.untilFirst ?? NaN) ? "" : String(Math.round(this.race?.untilFirst ?? 0));
    if (turned) this.stage.board?.refresh();
    else this.stage.board?.changed(); // its texts follow at their own pace
  }

  /** @param {{stopped: boolean, note: string, key: string, facts: Record<string, any>}} how */
  ended({ stopped, note, key, facts }) {
    this.changed();
    this.warm();
    if (note || key) this.tell(() => note || pageLine(key, facts), true);
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
    if (language && language !== spoken.now) this.turnTo(language);
  }

  /** @param {string} language */
  turnTo(language) {
    spoken.now = language;
    if (this.story.board && this.story.board.view.language !== language) this.story.board.switchLanguage();
    this.speak();
  }

  speak() {
    speakPage();
    byId("language").textContent = sentence(nextLanguage(spoken.now), "language.name");
    this.form.speak();
    this.editor.name();
    this.story.speak();
    for (const id of ["status", "status-yours"]) byId(id).textContent = this.status();
  }
}

/** Brings the page to life. */
export const begin = () => new Page().begin();
