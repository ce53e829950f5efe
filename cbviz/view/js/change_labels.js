/* Above the rows, what was changed: each label whole, beside the line of its change, or left out. */

import { h, setText } from "./dom.js";
import { GUTTER } from "./layout.js";
import { SET } from "./states.js";
import { changeInWords } from "./words.js";

/** @import { Axis } from "./axis.js" */
/** @import { Lane } from "./lane.js" */
/** @import { View } from "./view.js" */

/** px between a label and its line. */
const BESIDE = 3;
/** px of the longest label. */
const WIDEST_LABEL = 240;

/**
 * Where labels go: right of their line, or left of it where there is no room before the next line or the edge; null if neither has room.
 * @param {number[]} lines px, ascending @param {number[]} widths px of the labels @param {number} width px of the drawing @returns {(number | null)[]} px of each label's left edge
 */
export function labelPlaces(lines, widths, width) {
  let taken = 0;
  return lines.map((x, index) => {
    const wide = widths[index] + BESIDE;
    const next = Math.min(lines[index + 1] ?? width, width);
    const place = x + wide <= next ? x + BESIDE : x - wide >= taken ? x - wide : null;
    const seen = x >= 0 && x <= width && place !== null;
    taken = Math.max(taken, seen ? place + widths[index] : x);
    return seen ? place : null;
  });
}

/** The labels of one lane. */
export class ChangeLabels {
  /** @param {View} view @param {Lane} lane */
  constructor(view, lane) {
    this.view = view;
    this.lane = lane;
    this.element = h("div", { class: "cb-changes", "aria-hidden": "true" });
    /** px of every text that was shown. @type {Map<string, number>} */
    this.widths = new Map();
    this.key = "";
  }

  /** @param {Axis} axis @param {number} width px of the cells @param {(text: string) => number} measured px of a text */
  place(axis, width, measured) {
    const { view, lane, element } = this;
    const shown = view.shown(lane);
    const at = [...new Set(lane.byKind[SET])].filter((iteration) => iteration < shown);
    const texts = at.map((iteration) => lane.changes.filter((change) => change.at === iteration).map((change) => changeInWords(view.language, change)).join(", "));
    const places = labelPlaces(at.map((iteration) => Math.round(axis.left(lane, iteration))), texts.map((text) => this.wide(text, measured)), width);
    const labels = texts.flatMap((text, index) => (places[index] === null ? [] : [{ text, x: places[index] }]));
    const key = JSON.stringify(labels);
    if (key === this.key) return;
    this.key = key;
    while (element.children.length < labels.length) element.append(h("span", { dir: "auto" }));
    for (const [index, span] of /** @type {HTMLElement[]} */ ([...element.children]).entries()) {
      span.hidden = index >= labels.length;
      if (span.hidden) continue;
      setText(span, labels[index].text);
      span.style.transform = `translateX(${GUTTER + labels[index].x}px)`;
    }
  }

  /** @param {string} text @param {(text: string) => number} measured */
  wide(text, measured) {
    const known = this.widths.get(text) ?? Math.min(WIDEST_LABEL, Math.ceil(measured(text)) + 4);
    this.widths.set(text, known);
    return known;
  }
}
