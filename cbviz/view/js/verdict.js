/* The result: which lane is ahead during the run, and the measured result at its end. */

import { inWords, sentence } from "./catalogue.js";
import { h } from "./dom.js";
import { roughly } from "./numbers.js";

/** @import { Lane } from "./lane.js" */
/** @import { View } from "./view.js" */

/** The box that holds the result. */
export class Verdict {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.element = h("div", { class: "cb-finish" });
    /** The notes under the result. @type {HTMLElement | null} */
    this.words = null;
  }

  draw() {
    const { view, element } = this;
    const { lanes } = view.run;
    if (!lanes.length || view.status() === "waiting") {
      element.replaceChildren(h("p", { class: "cb-faint" }, view.say("empty")));
      element.dataset.key = "";
      return;
    }
    const result = view.live() ? null : view.run.meta.finish ?? null;
    const ended = result !== null && view.time.atEnd();
    const shown = lanes.map((lane) => lane.counters(view.shown(lane)));
    const counts = shown.map(({ finished }) => finished);
    const moves = () => shown.map(({ held }, index) => (lanes.length > 1 ? held : view.shown(lanes[index])));
    const key = JSON.stringify([ended, ended ? result : counts, view.language, ended ? 0 : moves()]);
    if (element.dataset.key === key) {
      this.markCut();
      return;
    }
    element.dataset.key = key;
    element.dataset.ended = String(ended);
    const notes = ended ? this.notes(result).join(" ") : "";
    // A playground has no result of its own: what it has is one line.
    if (ended) element.replaceChildren(this.line(result), ...(notes || !view.knobs().length ? [this.rest(notes)] : []));
    else element.replaceChildren(h("p", { class: "cb-so-far", dir: "auto" }, h("span", { class: "cb-small" }, view.say("so_far_label")), " ", this.soFar(counts)), ...this.whySoFar());
  }

  /** Why one lane is behind, in the words that the result will have, as soon as a slot is held; a playground has no line for it. */
  whySoFar() {
    const { view } = this;
    const { lanes } = view.run;
    if (lanes.length < 2 || view.knobs().length) return [];
    const [held, lane] = lanes.map((each) => /** @type {[number, Lane]} */ ([each.counters(view.shown(each)).held, each])).reduce((a, b) => (b[0] > a[0] ? b : a));
    if (!held) return [];
    return [h("p", { class: "cb-notes", dir: "auto" }, sentence(view.language, "verdict.because_held", { policy: lane.title(view.shown(lane)), n: held, count: view.num(held) }))];
  }

  /** The notes on one line, whole under the pointer or the focus: the lanes below keep their place. @param {string} notes */
  rest(notes) {
    this.words = h("p", { class: "cb-notes", dir: "auto" }, notes);
    return h("div", { class: "cb-rest", ...(notes ? { tabindex: "0" } : {}) }, this.words);
  }

  /** Shows that there is more where the line is cut: the width may change at any time. */
  markCut() {
    const { words } = this;
    if (words?.parentElement && !words.parentElement.matches(":hover, :focus")) words.parentElement.dataset.cut = String(words.scrollWidth > words.clientWidth + 1);
  }

  /** @param {number[]} counts finished requests of each lane */
  soFar(counts) {
    const { view } = this;
    const { lanes } = view.run;
    const [first, last] = [lanes[0], lanes[lanes.length - 1]];
    if (lanes.length === 1) return this.single(first, view.shown(first));
    if (counts.every((count) => count === 0)) return view.say("none_finished");
    if (lanes.length > 2) return view.say("finished_each", { lanes: lanes.map((lane, index) => `${lane.title(view.shown(lane))} ${view.num(counts[index])}`).join(" · ") });
    const [a, z] = [counts[0], counts[counts.length - 1]];
    return view.say(a === z ? "more_finished" : "ahead", { first: first.title(view.shown(first)), last: last.title(view.shown(last)), a: view.num(z), b: view.num(a) });
  }

  /** The result in a few words, and beside it what made the difference; without one, each lane's length. @param {Record<string, any>} result */
  line(result) {
    const { view } = this;
    const line = h("div", { class: "cb-verdict" });
    if (!result.headline && view.run.lanes.length > 1 && view.run.lanes.some((lane) => lane.changes.length)) {
      // A playground: both lanes ran as long, and differ in what they got done.
      line.append(h("span", { dir: "auto" }, this.soFar(view.run.lanes.map((lane) => lane.counters(lane.n).finished))));
      return line;
    }
    if (!result.headline) {
      line.append(h("span", { dir: "auto" }, view.run.lanes.map((lane) => this.single(lane, lane.n)).join(" · ")));
      return line;
    }
    line.append(h("strong", { class: "cb-big", dir: "auto" }, inWords(view.language, result.headline)));
    if (result.beside) line.append(h("span", { class: "cb-verdict-words", dir: "auto" }, inWords(view.language, result.beside)));
    return line;
  }

  /** A lane's length in iterations, and in seconds where they are worth showing. @param {Lane} lane @param {number} k iterations */
  single(lane, k) {
    const { view } = this;
    const n = { policy: lane.title(k), n: k, count: view.num(k) };
    return view.run.timed ? view.say("single", { ...n, n: n.count, s: roughly(view.language, lane.secondsAt(k)) }) : view.say("single_count", n);
  }

  /** The other sentences, as `cbviz.measure.verdict` decided on them. @param {Record<string, any>} result @returns {string[]} */
  notes(result) {
    const { view } = this;
    const notes = (result.lines ?? []).map((/** @type {import("./catalogue.js").Text} */ line) => inWords(view.language, line));
    // A playground always ends by being stopped.
    if (result.stopped && !notes.length && !view.knobs().length) notes.push(view.say("was_stopped"));
    if (result.note) notes.push(String(result.note));
    return notes;
  }
}
