/* The content of the grid as tables: for screen readers, and for copying. */

import { h } from "./dom.js";
import { percent, roughly, twoDigits } from "./numbers.js";
import { requestViews } from "./request.js";
import { changeInWords, endWords } from "./words.js";

/** @import { Lane } from "./lane.js" */
/** @import { View } from "./view.js" */

const MOST_ROWS = 500;

/** Lanes, changes and requests, each as a table. */
export class RunTable {
  /** @param {View} view @param {string} id of the element */
  constructor(view, id) {
    this.view = view;
    this.element = h("div", { class: "cb-table-box", id });
    this.element.hidden = true;
  }

  draw() {
    if (this.element.hidden) return;
    const { view, element } = this;
    const { lanes } = view.run;
    const key = JSON.stringify([lanes.map((lane) => view.shown(lane)), view.language, this.timed]);
    if (element.dataset.key === key) return;
    element.dataset.key = key;
    const changed = lanes.filter((lane) => lane.changes.length).map((lane) => this.changes(lane));
    const ids = [...new Set(lanes.flatMap((lane) => [...lane.requests.keys()]))].sort((a, b) => a - b);
    const most = Math.ceil(MOST_ROWS / Math.max(1, lanes.length));
    const cut = ids.length * lanes.length > MOST_ROWS ? [h("p", { class: "cb-faint" }, view.say("t_cut", { n: view.num(most), all: view.num(ids.length) }))] : [];
    const scroller = h("div", { class: "cb-scroll", tabindex: "0", role: "group", "aria-label": view.say("t_caption") }, this.requests(ids.slice(0, most)));
    element.replaceChildren(this.counters(), ...changed, ...cut, scroller);
  }

  /** Whether seconds are worth showing: not those of a run that was too short to time. */
  get timed() {
    return this.view.run.timed;
  }

  /** The first row of a table. @param {string[]} names keys of `WORDS` */
  head(names) {
    return h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, this.view.say(name)))));
  }

  /** A table with a row for each lane. */
  counters() {
    const { view } = this;
    const body = h("tbody");
    const { timed } = this;
    for (const lane of view.run.lanes) {
      const k = view.shown(lane);
      const c = lane.counters(k);
      const times = timed ? [roughly(view.language, c.seconds), twoDigits(view.language, c.rate)] : [];
      const cells = [view.num(k), view.num(c.finished), percent(view.language, c.occupancy, 1), view.num(c.wasted), ...times];
      body.append(h("tr", {}, h("th", { scope: "row", dir: "auto" }, lane.name), ...cells.map((text) => h("td", {}, text))));
    }
    return h("table", {}, this.head(["t_lane", "iterations", "finished", "occupancy", "wasted", ...(timed ? ["seconds", "rate"] : [])]), body);
  }

  /** The changes made while a lane ran. @param {Lane} lane */
  changes(lane) {
    const { view } = this;
    const body = h("tbody");
    for (const change of lane.changes.filter(({ at }) => at < Math.max(1, view.shown(lane))).slice(-MOST_ROWS))
      body.append(h("tr", {}, h("th", { scope: "row" }, view.num(change.at)), h("td", { dir: "auto" }, changeInWords(view.language, change))));
    return h("table", {}, h("caption", {}, view.say("t_changes")), this.head(["t_at", "j_set"]), body);
  }

  /** A row for each request in each lane. @param {number[]} ids */
  requests(ids) {
    const { view } = this;
    const { language, run } = view;
    const body = h("tbody");
    const { timed } = this;
    const known = (/** @type {number} */ value) => (value < 0 ? "–" : view.num(value));
    for (const id of ids)
      requestViews(view, id).forEach((seen, index) => {
        if (!seen) return;
        const times = timed ? [roughly(language, seen.waited), roughly(language, seen.ttft), roughly(language, seen.tpot)] : [];
        const cells = [
          run.lanes[index].name, view.say(seen.status, { why: view.say(endWords(seen.why)) }), known(seen.slot), known(seen.admitted), known(seen.finished), view.num(seen.tokens),
          ...times, (run.about(index, id)?.prompt ?? "").slice(0, 80),
        ];
        body.append(h("tr", {}, h("th", { scope: "row" }, String(id)), ...cells.map((text) => h("td", { dir: "auto" }, text))));
      });
    const names = ["t_request", "t_lane", "status", "t_slot", "t_admitted", "t_finished", "tokens", ...(timed ? ["waited", "ttft", "tpot"] : []), "t_prompt"];
    return h("table", {}, h("caption", {}, view.say("t_caption")), this.head(names), body);
  }
}
