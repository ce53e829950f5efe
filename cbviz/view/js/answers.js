/* Beside each slot, the text that its request writes; greyed, with what it costs, where the answer has ended and the slot computes on. */

import { lastAtMost } from "./columns.js";
import { clip, h, setText } from "./dom.js";
import { LINE } from "./layout.js";
import { DECODE, HELD, PREFILL, RECOMPUTE, STALLED } from "./states.js";
import { colourOf } from "./theme.js";

/** @import { Lane } from "./lane.js" */
/** @import { Plot } from "./plot.js" */
/** @import { View } from "./view.js" */

/** px of an average letter: with less, the sign that a text is cut would itself be cut. */
const CHARACTER = 7.3;
/** Of a state in which a slot computes something. @type {Record<number, string>} */
const KINDS = { [PREFILL]: "reads", [DECODE]: "writes", [RECOMPUTE]: "reads", [HELD]: "held", [STALLED]: "stalled" };

/**
 * What a slot's request has written in the first k iterations, null before the slot's first request. `burned`:
 * iterations for which the slot was held, computing for an answer that had ended.
 * @param {Lane} lane @param {number} slot @param {number} k
 */
export function answerAt(lane, slot, k) {
  const row = lane.rows[slot];
  let span = lane.spanAt(slot, k - 1);
  while (span >= 0 && row.request[span] < 0) span--;
  if (span < 0) return null;
  const request = row.request[span];
  const record = lane.record(request);
  const tokens = lastAtMost(record.tokens, k - 1) + 1;
  const here = lane.endOf(slot, span) >= k;
  const kind = here ? KINDS[row.state[span]] ?? "ended" : "ended";
  return { request, kind, tokens, pieces: record.pieces.length > 0 ? record.pieces : null, burned: kind === "held" ? k - row.first[span] : 0 };
}

/** The end of a text that is written piece by piece, at most as many columns wide. @param {string[]} pieces @param {number} count of them @param {number} columns */
export function tail(pieces, count, columns) {
  let text = "";
  let first = count;
  while (first > 0 && text.length <= columns) text = pieces[--first] + text;
  const signs = [...clip(text).replace(/\s+/g, " ")];
  let from = signs.length;
  for (let room = columns; from > 0; from--) {
    room -= (signs[from - 1].codePointAt(0) ?? 0) > 0x2e7f ? 2 : 1;
    if (room < 0) break;
  }
  const whole = from === 0 && first === 0;
  return { text: (whole ? "" : "…") + signs.slice(from).join(""), whole };
}

/** The column of texts beside one lane's rows. */
export class Answers {
  /** @param {View} view @param {Lane} lane @param {Plot} plot */
  constructor(view, lane, plot) {
    this.view = view;
    this.lane = lane;
    this.plot = plot;
    /** Characters of a row. */
    this.columns = 8;
    this.rows = Array.from({ length: plot.heights.pitch >= LINE ? lane.slots : 0 }, () => this.row());
    this.element = h("div", { class: "cb-answers", role: "list", "aria-label": view.say("answers") }, ...this.rows.map((row) => row.element));
    this.element.style.paddingTop = `${plot.heights.top}px`;
    this.element.hidden = !this.rows.length;
  }

  /** One slot's line. */
  row() {
    const prompt = h("span", { class: "cb-asked" });
    const text = h("span", { class: "cb-wrote" });
    const burned = h("span", { class: "cb-burned", title: this.view.say("burned_title") });
    const element = h("div", { class: "cb-answer", role: "listitem", dir: "auto", "data-kind": "none" }, prompt, text, burned);
    element.style.height = `${this.plot.heights.pitch}px`;
    const id = () => Number(element.dataset.request ?? -1);
    element.addEventListener("pointerenter", () => this.view.hover(id()));
    element.addEventListener("pointerleave", () => this.view.hover(-1));
    element.addEventListener("click", () => id() >= 0 && this.view.pin(id()));
    return { element, prompt, text, burned };
  }

  /** Reads its width, before anything is written: reading it in between would lay out the page once a lane. */
  measure() {
    this.columns = Math.max(8, Math.floor((this.element.clientWidth - 14) / CHARACTER));
  }

  draw() {
    const { view, lane, rows, plot, columns } = this;
    if (!rows.length) return;
    const k = view.shown(lane);
    rows.forEach(({ element, prompt, text, burned }, slot) => {
      const seen = answerAt(lane, slot, k);
      element.dataset.kind = seen ? seen.kind : "none";
      element.dataset.request = String(seen ? seen.request : -1);
      element.dataset.lit = String(seen !== null && seen.request === view.lit());
      element.style.borderColor = seen && seen.kind !== "ended" ? colourOf(seen.request) : "transparent";
      const asked = seen ? (view.run.about(plot.index, seen.request)?.prompt ?? "").replace(/\s+/g, " ") : "";
      const cost = seen && seen.burned ? `+${view.num(seen.burned)}` : "";
      const room = columns - (cost ? cost.length + 2 : 0);
      const wrote = seen && seen.pieces ? tail(seen.pieces, seen.tokens, room) : { text: seen && seen.tokens ? view.say("tokens_so_far", { n: view.num(seen.tokens) }) : "", whole: true };
      // The question too, where both have room.
      const both = asked !== "" && wrote.whole && asked.length + wrote.text.length + 2 <= room;
      const alone = wrote.text === "" ? clip(asked).slice(0, room) : "";
      setText(prompt, both ? clip(asked) : alone);
      text.dataset.cut = String(!wrote.whole);
      setText(text, wrote.text);
      setText(burned, cost);
    });
  }
}
