/* How the queue and the time to the first token of a lane develop: two small lines, for runs whose controls change. */

import { lastAtMost } from "./columns.js";
import { h, setText } from "./dom.js";
import { roughly } from "./numbers.js";

/** @import { Lane } from "./lane.js" */
/** @import { View } from "./view.js" */

/** Iterations that a line covers, and its points. */
const SPAN = 400;
const POINTS = 40;
const WIDTH = 80;
const HEIGHT = 16;

/** The most waiting requests in each part of the iterations before k. @param {Lane} lane @param {number} k */
export function waitingOver(lane, k) {
  const from = Math.max(0, k - SPAN);
  return Array.from({ length: Math.min(POINTS, k) }, (_, point) => {
    const all = Math.min(POINTS, k);
    let most = 0;
    for (let i = from + Math.floor(((k - from) * point) / all); i < from + Math.floor(((k - from) * (point + 1)) / all); i++) most = Math.max(most, lane.waiting.at(i));
    return most;
  });
}

/** Seconds to the first token of the last requests that got one before iteration k, in that order. @param {Lane} lane @param {number} k */
export function firstTokens(lane, k) {
  const upTo = lastAtMost(lane.firsts.at, k - 1);
  return lane.firsts.request.slice(Math.max(0, upTo + 1 - POINTS), upTo + 1).map((id) => {
    const record = lane.record(id);
    return lane.t1.at(record.tokens[0]) - lane.t0.at(Math.max(0, record.arrived));
  });
}

/** The path of a line that fills its box. @param {number[]} values */
export function linePath(values) {
  const most = Math.max(1e-9, ...values);
  return values.map((value, k) => `${k ? "L" : "M"}${((k * WIDTH) / Math.max(1, values.length - 1)).toFixed(1)} ${(HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(1)}`).join("");
}

/** Both lines with their newest values. */
export class Trend {
  /** @param {View} view @param {Lane} lane */
  constructor(view, lane) {
    this.view = view;
    this.lane = lane;
    this.queue = this.line(view.say("trend_queue_title"));
    this.first = this.line(view.say("trend_ttft_title"));
    this.element = h("div", { class: "cb-trend" }, this.queue.box, this.first.box);
    this.element.hidden = true;
  }

  /** @param {string} title */
  line(title) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("aria-hidden", "true");
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.append(shape);
    const label = h("span", { class: "cb-small" });
    return { shape, label, box: h("div", { class: "cb-trend-line", title }, svg, label) };
  }

  /** @param {number} k iterations shown */
  draw(k) {
    const { view, lane, queue, first } = this;
    const waiting = waitingOver(lane, k);
    const times = firstTokens(lane, k);
    this.element.hidden = waiting.length < 2;
    queue.shape.setAttribute("d", linePath(waiting));
    first.shape.setAttribute("d", linePath(times));
    first.box.hidden = !view.run.timed;
    setText(first.label, view.say("trend_ttft", { s: roughly(view.language, times.at(-1) ?? null) }));
  }
}
