/* The result: which lane is ahead during the run, and the measured result at its end. */

import { h } from "./dom.js";
import { duration } from "./numbers.js";

/** @import { View } from "./view.js" */

/** The box that holds the result. */
export class Verdict {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.element = h("div", { class: "cb-finish" });
  }

  draw() {
    const { view, element } = this;
    const { lanes } = view.run;
    if (!lanes.length) {
      element.replaceChildren(h("p", { class: "cb-faint" }, view.say("empty")));
      element.dataset.key = "";
      return;
    }
    const result = view.live() ? null : view.run.meta.finish ?? null;
    const ended = result !== null && view.time.atEnd();
    const counts = lanes.map((lane) => lane.counters(view.shown(lane)).finished);
    const key = JSON.stringify([ended, ended ? result : counts, view.language, ended ? 0 : lanes.map((lane) => (lanes.length > 1 ? 0 : view.shown(lane)))]);
    if (element.dataset.key === key) return;
    element.dataset.key = key;
    element.dataset.ended = String(ended);
    if (ended) element.replaceChildren(this.line(result), h("p", { class: "cb-notes", dir: "auto" }, this.notes(result).join(" ")));
    else element.replaceChildren(h("p", { class: "cb-so-far", dir: "auto" }, h("span", { class: "cb-small" }, view.say("so_far_label")), " ", this.soFar(counts)));
  }

  /** @param {number[]} counts finished requests of each lane */
  soFar(counts) {
    const { view } = this;
    const { lanes } = view.run;
    const [first, last] = [lanes[0], lanes[lanes.length - 1]];
    if (lanes.length === 1) return view.say("single", { policy: first.name, n: view.num(view.shown(first)), s: duration(view.language, first.secondsAt(view.shown(first))) });
    const [a, z] = [counts[0], counts[counts.length - 1]];
    return view.say(a === z ? "more_finished" : "ahead", { first: first.name, last: last.name, a: view.num(z), b: view.num(a) });
  }

  /** The speed-up and its two factors; without one, each lane's length. @param {Record<string, any>} result */
  line(result) {
    const { view } = this;
    const { lanes } = view.run;
    const names = { first: lanes[0].name, last: lanes[lanes.length - 1].name };
    const line = h("div", { class: "cb-verdict" });
    if (typeof result.speedup !== "number") {
      line.append(h("span", {}, lanes.map((lane) => view.say("single", { policy: lane.name, n: view.num(lane.n), s: duration(view.language, lane.secondsAt(lane.n)) })).join(" · ")));
      return line;
    }
    const times = (/** @type {number} */ value) => view.num(value, 2) + "×";
    const how = view.say(result.clock === "virtual" ? "computed" : "measured");
    const words = view.say(result.speedup >= 1 ? "faster" : "slower", names);
    line.append(h("strong", { class: "cb-big" }, times(result.speedup)), h("span", { class: "cb-verdict-words", dir: "auto" }, words, h("span", { class: "cb-small" }, " " + how)));
    if (typeof result.iteration_ratio === "number" && typeof result.cost_ratio === "number") {
      const operator = (/** @type {string} */ sign) => h("span", { class: "cb-op" }, sign);
      const part = (/** @type {number} */ value, /** @type {string} */ key) => h("span", { class: "cb-part" }, h("strong", {}, times(value)), h("span", { class: "cb-small", dir: "auto" }, view.say(key, names)));
      line.append(h("span", { class: "cb-parts" }, operator("="), part(result.iteration_ratio, "part_iterations"), operator("×"), part(result.cost_ratio, "part_cost")));
    }
    return line;
  }

  /** Notes on the result. @param {Record<string, any>} result */
  notes(result) {
    const { view } = this;
    const notes = [];
    if (result.speedup_range && result.repeats > 1) notes.push(view.say("range", { repeats: view.num(result.repeats), low: view.num(result.speedup_range[0], 2), high: view.num(result.speedup_range[1], 2) }));
    if (result.stopped) notes.push(view.say("was_stopped"));
    if (result.compared > 0) {
      const all = view.num(result.compared);
      const differing = result.compared - result.identical;
      notes.push(differing === 0 ? view.say("same", { same: view.num(result.identical), all }) : view.say("differing", { n: view.num(differing), all }));
    }
    if (["lane", "alone", "virtual"].includes(result.clock) && view.run.lanes.length > 1) notes.push(view.say(`clock_${result.clock}`));
    if (result.note) notes.push(String(result.note));
    return notes;
  }
}
