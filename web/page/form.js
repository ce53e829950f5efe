/* The form: slots, requests, seed, memory and the lanes of a live race. */
import { h } from "../../cbviz/view/js/dom.js";
import { LANES, SLOTS, checkedSettings } from "./options.js";
import { pageLine } from "./words.js";
/** @import { Settings } from "./options.js" */

/** An element that the template has. @template {HTMLElement} T @param {string} id @returns {T} */
export const byId = (id) => /** @type {T} */ (document.getElementById(id));

export class Form {
  constructor() {
    this.slots = /** @type {HTMLSelectElement} */ (byId("slots"));
    this.requests = /** @type {HTMLInputElement} */ (byId("requests"));
    this.seed = /** @type {HTMLInputElement} */ (byId("seed"));
    this.memory = /** @type {HTMLSelectElement} */ (byId("memory"));
    this.lanes = [1, 2, 3].map((number) => /** @type {HTMLSelectElement} */ (byId(`lane${number}`)));
    this.slots.append(...SLOTS.map((slots) => h("option", { value: String(slots) }, String(slots))));
    for (const [i, lane] of this.lanes.entries()) {
      if (i) lane.append(h("option", { value: "" }, "–"));
      lane.append(...LANES.map((name) => h("option", { value: name }, name)));
    }
  }

  /** The names that depend on the language. */
  speak() {
    for (const lane of this.lanes) for (const option of lane.options) if (option.value === "yours") option.textContent = pageLine("yours");
  }

  /** @param {Settings} settings */
  show({ slots, requests, seed, tight, lanes }) {
    this.slots.value = String(slots);
    this.requests.value = String(requests);
    this.seed.value = String(seed);
    this.memory.value = tight ? "tight" : "ample";
    this.lanes.forEach((lane, i) => (lane.value = lanes[i] ?? ""));
  }

  /** What is chosen, checked. Throws a SettingsError. @param {Pick<Settings, "code" | "language">} written @returns {Settings} */
  settings(written) {
    const number = (/** @type {HTMLInputElement} */ input) => (input.value.trim() === "" ? NaN : Number(input.value));
    return checkedSettings({
      slots: Number(this.slots.value),
      requests: number(this.requests),
      seed: number(this.seed),
      tight: this.memory.value === "tight",
      lanes: this.lanes.map((lane) => lane.value).filter(Boolean),
      ...written,
    });
  }
}
