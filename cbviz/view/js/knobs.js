/* Live controls: sliders and choices that change a run while it runs. */

import { inWords } from "./catalogue.js";
import { h, setText, wordButton } from "./dom.js";

/** @import { View } from "./view.js" */

/** The row of knobs; hidden if there are none. */
export class Knobs {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.element = h("div", { class: "cb-controls", role: "group", "aria-label": view.say("controls") });
    /** What it shows now, so that it is built again only when that changes. */
    this.shown = "";
  }

  draw() {
    const { view, element } = this;
    const { actions = [], knobs = [] } = view.host?.state() ?? {};
    const live = view.live();
    const shown = JSON.stringify([actions, knobs, live, view.language]);
    if (shown === this.shown) return;
    this.shown = shown;
    element.replaceChildren();
    element.hidden = !live || (!knobs.length && !actions.includes("burst"));
    if (element.hidden) return;
    for (const knob of knobs) element.append(knob.choices ? this.choice(knob) : this.slider(knob));
    if (actions.includes("burst")) element.append(wordButton(view.say("burst"), () => view.control({ action: "burst" })));
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
    return h("label", { class: "cb-knob" }, this.label(knob), select);
  }

  /** @param {any} knob a number in a range */
  slider(knob) {
    const shown = (/** @type {number | string} */ value) => this.view.num(Number(value), knob.step < 1 ? 2 : 0);
    const range = h("input", { type: "range", min: String(knob.low), max: String(knob.high), step: String(knob.step), value: String(knob.value), "data-knob": knob.name });
    const value = h("output", {}, shown(knob.value));
    range.addEventListener("input", () => setText(value, shown(range.value)));
    range.addEventListener("change", () => this.view.control({ action: "set", name: knob.name, value: Number(range.value) }));
    return h("label", { class: "cb-knob" }, this.label(knob), range, value);
  }
}
