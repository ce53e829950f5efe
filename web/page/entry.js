/* The page: the recorded race plays at once; once the model has arrived, a race runs live, with schedulers of the reader's own. */
import { nextLanguage, sentence } from "../../cbviz/view/js/catalogue.js";
import { EXAMPLES, SHORTEST } from "./examples.js";
import { Form, byId } from "./form.js";
import { fragmentOf, settingsOf } from "./fragment.js";
import { LiveRace } from "./live_race.js";
import { SettingsError, USUAL } from "./options.js";
import { dataOf, modelParts } from "./parts.js";
import { Stage } from "./stage.js";
import { Story } from "./story.js";
import { pageLine, speakPage, spoken } from "./words.js";
/** @import { Parts } from "./live_race.js" */

class Page {
  constructor() {
    this.stage = new Stage(byId("stage"));
    this.story = new Story();
    this.form = new Form();
    this.editor = /** @type {HTMLTextAreaElement} */ (byId("code"));
    this.start = /** @type {HTMLButtonElement} */ (byId("start"));
    this.stop = /** @type {HTMLButtonElement} */ (byId("stop"));
    /** @type {Parts | null} */
    this.parts = null;
    /** @type {LiveRace | null} */
    this.race = null;
    /** The sentence that is shown: how it is said in the language of the moment. @type {() => string} */
    this.status = () => pageLine("loading");
    this.form.show(USUAL);
    this.editor.value = SHORTEST;
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
    byId("example").addEventListener("change", () => (this.editor.value = EXAMPLES[/** @type {HTMLSelectElement} */ (byId("example")).value] ?? this.editor.value));
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
      if (settings.code) this.editor.value = settings.code;
      this.tell(() => pageLine("shared"));
      byId("write").scrollIntoView();
    } catch (error) {
      this.shared = true;
      this.refuse(error);
    }
  }

  run() {
    try {
      if (!this.parts) return;
      const settings = this.form.settings(this.editor.value);
      this.race?.end("", "");
      this.race = new LiveRace(this.parts, settings, { begun: (race) => this.begun(race), changed: () => this.changed(), ended: (how) => this.ended(how) });
      this.tell(() => pageLine("computing"));
      this.changed();
    } catch (error) {
      this.refuse(error);
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
    if (note || key) this.tell(() => note || pageLine(key), true);
    else this.tell(() => pageLine(stopped ? "stopped" : "finished"));
  }

  async share() {
    try {
      history.replaceState(null, "", fragmentOf(this.form.settings(this.editor.value))); // no hashchange: the link is our own
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
