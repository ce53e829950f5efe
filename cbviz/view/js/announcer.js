/* A summary for screen readers, at most every two seconds, and once more at the end. */

import { h } from "./dom.js";
import { percent } from "./numbers.js";

/** @import { Plot } from "./plot.js" */
/** @import { View } from "./view.js" */

/** Milliseconds between two summaries, at least. */
const QUIET = 2000;

/** The hidden text that screen readers read out. */
export class Announcer {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.element = h("p", { class: "cb-hidden", "aria-live": "polite", "data-summary": "" });
    this.said = "";
    /** Page time in ms from which it may speak again. */
    this.due = 0;
    /** @type {number | undefined} */
    this.later = undefined;
  }

  /** @param {number} time ms of the page @param {Plot[]} plots */
  draw(time, plots) {
    const { view } = this;
    const lines = view.run.lanes.map((lane, index) => {
      const k = view.shown(lane);
      if (!k) return view.say("aria_empty", { lane: lane.title(k), slots: view.num(lane.slots) });
      const c = lane.counters(k);
      return view.say("aria_grid", {
        lane: lane.title(k), slots: view.num(lane.slots), n: view.num(k), done: view.num(c.finished), all: view.num(view.run.total(index)),
        occupancy: percent(view.language, c.occupancy), wasted: view.num(c.wasted), waiting: view.num(c.waiting),
      });
    });
    const ended = !view.live() && view.host !== null && view.time.atEnd() && view.run.meta.finish;
    const text = lines.join(" ") + (ended ? " " + view.say("aria_end") : "");
    if (text === this.said) return;
    if (time < this.due) {
      this.later ??= window.setTimeout(() => {
        this.later = undefined;
        view.page.changed();
      }, Math.max(20, this.due - time));
      return;
    }
    this.due = time + QUIET;
    this.said = text;
    this.element.textContent = text;
    plots.forEach((plot, index) => plot.gutter.setAttribute("aria-label", lines[index]));
  }

  close() {
    window.clearTimeout(this.later);
  }
}
