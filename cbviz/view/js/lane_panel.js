/* One lane on the page: its name, counters and queue around its drawing. */

import { Answers } from "./answers.js";
import { inWords } from "./catalogue.js";
import { h, setText } from "./dom.js";
import { Flights } from "./flights.js";
import { percent, roughly, twoDigits } from "./numbers.js";
import { colourOf, textOn } from "./theme.js";
import { Trend } from "./trend.js";
import { setting } from "./words.js";

/** @import { Lane } from "./lane.js" */
/** @import { Plot } from "./plot.js" */
/** @import { View } from "./view.js" */

/** Waiting requests that are shown one by one. */
const CHIPS = 24;
const COUNTERS = ["iterations", "finished", "occupancy", "wasted", "rate"];

/** Iterations over which the counters of a lane with controls are taken. */
const RECENT = 100;

/** Counters and queue of one lane. */
export class LanePanel {
  /** @param {View} view @param {Lane} lane @param {Plot} plot */
  constructor(view, lane, plot) {
    this.view = view;
    this.lane = lane;
    this.plot = plot;
    this.counters = Object.fromEntries(
      COUNTERS.map((name) => {
        const value = h("strong");
        const title = name === "iterations" ? "" : view.say(`${name}_title`);
        const label = h("span", {}, name === "iterations" ? "" : view.say(name));
        return [name, { value, label, box: h("span", { class: `cb-counter cb-c-${name}`, title }, value, label) }];
      }),
    );
    this.meter = { used: h("i", { class: "cb-kv-used" }), reserved: h("i", { class: "cb-kv-reserved" }), value: h("strong"), box: h("span", { class: "cb-counter cb-kv" }) };
    this.meter.box.append(h("span", { class: "cb-kv-bar", "aria-hidden": "true" }, this.meter.used, this.meter.reserved), this.meter.value, h("span", {}, view.say("kv")));
    this.meter.box.hidden = lane.totalBlocks === 0;
    this.answers = new Answers(view, lane, plot);
    this.chips = Array.from({ length: CHIPS }, () => this.chip());
    this.waiting = h("span", { class: "cb-waiting" });
    this.name = h("h3", { dir: "auto" }, lane.name);
    this.trend = new Trend(view, lane);
    this.summary = h("span", { class: "cb-lane-summary", dir: "auto", title: inWords(view.language, lane.summary) }, inWords(view.language, lane.summary));
    const chips = h("div", { class: "cb-chips", role: "list", "aria-label": view.say("queue") }, ...this.chips);
    const boxes = [...Object.values(this.counters).map((counter) => counter.box), this.meter.box];
    const body = h("div", { class: "cb-lane-body" }, h("div", { class: "cb-queue" }, h("span", { class: "cb-small" }, view.say("queue")), chips, this.waiting, this.trend.element), plot.element, this.answers.element);
    this.flights = new Flights(view, lane, plot, body);
    this.element = h(
      "section", { class: "cb-lane", "aria-label": lane.name },
      h("div", { class: "cb-lane-head" }, this.name, this.summary, h("div", { class: "cb-counters" }, ...boxes)),
      body,
    );
  }

  /** A waiting request; hovering highlights it, and a click pins it. */
  chip() {
    const chip = h("span", { class: "cb-chip", role: "listitem" });
    chip.hidden = true;
    chip.addEventListener("pointerenter", () => this.view.hover(Number(chip.dataset.request)));
    chip.addEventListener("pointerleave", () => this.view.hover(-1));
    chip.addEventListener("click", () => this.view.pin(Number(chip.dataset.request)));
    return chip;
  }

  draw() {
    const { view, lane, counters } = this;
    const { language } = view;
    const k = view.shown(lane);
    const c = lane.counters(k);
    if (lane.changes.length) this.drawSettings(k, c);
    setText(counters.iterations.value, view.num(k));
    setText(counters.iterations.label, view.say("iterations_of", { n: k }));
    const { timed } = view.run;
    counters.rate.box.hidden = !timed;
    counters.iterations.box.title = !timed ? "" : view.say("single", { policy: lane.name, n: view.num(k), s: roughly(language, c.seconds) });
    setText(counters.finished.value, `${view.num(c.finished)}/${view.num(view.run.total(this.plot.index))}`);
    setText(counters.occupancy.value, percent(language, c.occupancy));
    setText(counters.wasted.value, view.num(c.wasted));
    setText(counters.rate.value, twoDigits(language, c.rate));
    if (lane.totalBlocks) this.drawMeter(c.used, c.reserved);
    this.drawQueue(k, c.waiting);
    this.answers.draw();
    if (lane.changes.length) this.trend.draw(k);
    this.plot.gutter.setAttribute("data-shown", String(k));
    this.plot.gutter.setAttribute("data-received", String(lane.n));
  }

  /** A lane whose controls change: its settings, and its counters over the last iterations. @param {number} k @param {{occupancy: number, wasted: number, rate: number}} c */
  drawSettings(k, c) {
    const { view, lane, counters } = this;
    const settings = [...lane.settings(k)].filter(([name]) => name !== "pace" && name !== "policy");
    setText(this.name, lane.title(k));
    setText(this.summary, settings.map(([name, value]) => setting(view.language, name, value)).join(" · "));
    this.summary.title = this.summary.textContent ?? "";
    Object.assign(c, lane.recent(k, RECENT));
    for (const [name, words] of [["occupancy", "recent_occupancy"], ["wasted", "recent_wasted"], ["rate", "recent_rate"]]) {
      setText(counters[name].label, view.say(words));
      counters[name].box.title = view.say("recent_title", { n: view.num(RECENT) });
    }
  }

  /** @param {number} used @param {number} reserved blocks of the KV cache */
  drawMeter(used, reserved) {
    const { view, meter } = this;
    const total = this.lane.totalBlocks;
    meter.used.style.width = `${(100 * used) / total}%`;
    meter.reserved.style.width = `${(100 * reserved) / total}%`;
    setText(meter.value, percent(view.language, (used + reserved) / total));
    meter.box.title = view.say("kv_title", { used: view.num(used), reserved: view.num(reserved), free: view.num(total - used - reserved), total: view.num(total) });
  }

  /** @param {number} k iterations shown @param {number} count of waiting requests */
  drawQueue(k, count) {
    const { view } = this;
    const queue = this.lane.queue.waiting(k, CHIPS);
    this.chips.forEach((chip, place) => {
      const entry = queue[place];
      chip.hidden = !entry;
      if (!entry) return;
      const id = String(entry.request);
      if (chip.dataset.request !== id) {
        chip.dataset.request = id;
        setText(chip, view.run.label(entry.request));
        chip.style.background = colourOf(entry.request);
        chip.style.color = textOn(colourOf(entry.request));
      }
      chip.title = view.say(entry.again ? "waits_again" : "waits", { n: k - entry.from, count: view.num(k - entry.from), before: view.num(place) });
      chip.dataset.again = String(entry.again);
      chip.dataset.lit = String(entry.request === view.lit());
    });
    // Before the first iteration nothing is known of the queue.
    setText(this.waiting, count ? view.say("waiting", { n: view.num(count) }) : k ? view.say("none_waiting") : "");
  }
}
