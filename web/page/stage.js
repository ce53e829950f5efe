/* The stage: one board that shows the recorded race, or the live one. */
import { Board } from "../../cbviz/view/js/board.js";
import { Run } from "../../cbviz/view/js/run.js";
import { spoken } from "./words.js";
/** @import { LiveRace } from "./live_race.js" */

export class Stage {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {Board | null} */
    this.board = null;
    this.recorded = new Run();
  }

  /** The recorded race, from its beginning. @param {Uint8Array} [bytes] of the race; by default those of the first call */
  showRecorded(bytes) {
    if (bytes) this.recorded.add(bytes);
    if (!this.recorded.lanes.length) return; // it did not come, which the page has said
    this.show(this.recorded, { autoplay: true });
    this.element.dataset.shows = "recorded";
  }

  /** @param {LiveRace} race */
  showLive(race) {
    this.show(race.run, { host: race.host(), autoplay: false });
    this.element.dataset.shows = "live";
  }

  /** @param {Run} run @param {{host?: any, autoplay: boolean}} options */
  show(run, options) {
    const language = spoken.now;
    this.board?.destroy();
    this.element.querySelector(".blank")?.remove(); // the script runs
    this.board = new Board(this.element, run, { language, ...options });
    this.board.applyTheme(true);
  }
}
