/* Live controls: sliders and choices that change a run while it runs, and what was changed. After its end they show their last values. */

import { inWords } from "./catalogue.js";
import { button, h, setText, wordButton } from "./dom.js";
import { changeInWords } from "./words.js";

/** @import { View } from "./view.js" */

/** Changes that are listed. */
const LISTED = 4;

/** The row of knobs; hidden if there are none. */
export class Knobs {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.element = h("div", { class: "cb-controls", role: "group", "aria-label": view.say("controls") });
    this.history = h("ol", { class: "cb-history cb-small", "aria-label": view.say("t_changes") });
    this.over = h("span", { class: "cb-small cb-over", dir: "auto" });
    /** What was changed, on the line of the result. */
    this.line = h("div", { class: "cb-changed" }, this.over, this.history);
    this.line.hidden = true;
    /** What it shows now, so that it is built again only when that changes. */
    this.shown = "";
    /** Puts a value into a control. @type {Map<string, (value: any) => void>} */
    this.setters = new Map();
  }

  draw() {
    const { view } = this;
    const { actions = [] } = view.host?.state() ?? {};
    const knobs = view.knobs();
    const live = view.live();
    const again = view.canRestart();
    const shown = JSON.stringify([actions, again, knobs.map((/** @type {any} */ knob) => ({ ...knob, value: 0 })), live, view.language]);
    if (shown !== this.shown) {
      this.shown = shown;
      this.build(actions, knobs, live, again);
    }
    // A new value is put into the control that is there: it keeps the focus, and one that is being moved its place.
    for (const knob of knobs) this.setters.get(knob.name)?.(knob.value);
    if (knobs.length) this.drawHistory();
  }

  /** The last changes, newest first. */
  drawHistory() {
    const { view, history } = this;
    const { language } = view;
    /** @type {Set<string>} */
    const lines = new Set();
    for (const lane of [...view.run.lanes].reverse())
      for (const change of lane.changes.slice(-2 * LISTED)) if (change.at > 0) lines.add(JSON.stringify([change.at, view.say("history", { at: view.num(change.at), change: changeInWords(language, change) })]));
    const newest = [...lines].map((line) => JSON.parse(line)).sort((a, b) => b[0] - a[0]).slice(0, LISTED).map(([, text]) => text);
    const key = newest.join("|");
    if (history.dataset.key === key) return;
    history.dataset.key = key;
    history.hidden = !newest.length;
    history.replaceChildren(...newest.map((text) => h("li", { dir: "auto" }, text)));
  }

  /** @param {string[]} actions @param {any[]} knobs @param {boolean} live @param {boolean} again whether the run can begin anew */
  build(actions, knobs, live, again) {
    const { view, element } = this;
    this.setters.clear();
    element.replaceChildren();
    element.hidden = this.line.hidden = !knobs.length;
    element.dataset.live = String(live);
    if (element.hidden) return;
    for (const knob of knobs) {
      const label = knob.choices ? this.choice(knob) : this.slider(knob);
      label.children[1].toggleAttribute("disabled", !live);
      element.append(label);
    }
    this.over.hidden = live;
    setText(this.over, view.say(again ? "knobs_again" : "knobs_over"));
    this.over.title = this.over.textContent ?? "";
    const buttons = h("div", { class: "cb-acts" });
    if (live && actions.includes("burst")) buttons.append(wordButton(view.say("burst"), () => view.control({ action: "burst" })));
    if (again) {
      const restart = button("restart", view.say("restart"), () => view.startOver());
      restart.title = view.say("restart_title");
      buttons.append(restart);
    }
    element.append(buttons);
  }

  /** @param {any} knob */
  label(knob) {
    return h("span", {}, inWords(this.view.language, knob.label));
  }

  /** @param {any} knob a list of choices */
  choice(knob) {
    const select = h("select", { class: "cb-select", "data-knob": knob.name });
    for (const choice of knob.choices) select.append(h("option", { value: String(choice) }, String(choice)));
    select.value = String(knob.value);
    select.addEventListener("change", () => this.view.control({ action: "set", name: knob.name, value: select.value }));
    this.setters.set(knob.name, this.setter(knob.value, (value) => (select.value = String(value))));
    return h("label", { class: "cb-knob" }, this.label(knob), select);
  }

  /** @param {any} knob a number in a range */
  slider(knob) {
    const shown = (/** @type {number | string} */ value) => this.view.num(Number(value), knob.step < 1 ? 2 : 0);
    const range = h("input", { type: "range", min: String(knob.low), max: String(knob.high), step: String(knob.step), value: String(knob.value), "data-knob": knob.name });
    const value = h("output", {}, shown(knob.value));
    range.addEventListener("input", () => setText(value, shown(range.value)));
    range.addEventListener("change", () => this.view.control({ action: "set", name: knob.name, value: Number(range.value) }));
    this.setters.set(knob.name, this.setter(knob.value, (given) => {
      range.value = String(given);
      setText(value, shown(given));
    }));
    return h("label", { class: "cb-knob" }, this.label(knob), range, value);
  }

  /** Puts a value in when the engine's has changed. @param {any} first @param {(value: any) => void} put */
  setter(first, put) {
    let last = first;
    return (/** @type {any} */ value) => {
      if (value === last) return;
      last = value;
      put(value);
    };
  }
}
