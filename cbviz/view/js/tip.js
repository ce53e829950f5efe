/* The tooltip: a few words about the thing under the pointer. */

import { inWords } from "./catalogue.js";
import { h } from "./dom.js";
import { hitTest } from "./layout.js";
import { percent, roughly } from "./numbers.js";
import { reasonsOf } from "./request.js";
import { ADMIT, PREFILL, RECOMPUTE, STALL, STATE_WORDS } from "./states.js";
import { changeInWords } from "./words.js";

/** @import { Lane } from "./lane.js" */
/** @import { Plot } from "./plot.js" */
/** @import { View } from "./view.js" */

/** Lines about a cell: its request, its state, and the reason. @param {View} view @param {Lane} lane @param {number} slot @param {number} span @param {number} i iteration */
export function cellLines(view, lane, slot, span, i) {
  const row = lane.rows[slot];
  const [request, state] = [row.request[span], row.state[span]];
  const whose = request >= 0 ? view.say("request", { id: view.run.label(request) }) + " · " : "";
  const lines = [h("div", { class: "cb-tip-head" }, whose + view.say(STATE_WORDS[state]))];
  const took = view.run.timed ? ` · ${roughly(view.language, lane.t1.at(i) - lane.t0.at(i))}` : "";
  lines.push(h("div", {}, `${view.say("slot")} ${slot} · ${view.say("at", { n: view.num(i) })}${took}`));
  if (state === PREFILL) lines.push(h("div", {}, view.say("tip_prefill", { n: view.num(row.tokens[span]) })));
  if (state === RECOMPUTE) lines.push(h("div", {}, view.say("tip_recompute", { n: view.num(row.tokens[span]) })));
  const drafts = lane.draftsAt(slot, i);
  if (drafts) lines.push(h("div", {}, view.say("tip_drafts", { n: view.num(drafts.checked), accepted: view.num(drafts.accepted), given: view.num(drafts.accepted + 1) })));
  for (const mark of reasonsOf(lane, slot, span).slice(0, 4)) {
    if (!mark.reason) continue;
    const key = mark.kind === ADMIT ? "admitted_because" : mark.kind === STALL ? "stalled_because" : "preempted_because";
    const reason = inWords(view.language, mark.reason).slice(0, 200);
    lines.push(h("div", { class: "cb-reason", dir: "auto" }, view.say("because", { what: view.say(key), reason })));
  }
  return lines;
}

/** Lines about an iteration in the strip below the rows, and the changes near it. @param {View} view @param {Lane} lane @param {number} i iteration @param {number} x px */
export function stripLines(view, lane, i, x) {
  const share = (lane.sum.useful.at(i + 1) - lane.sum.useful.at(i)) / (lane.sum.open.at(i + 1) - lane.sum.open.at(i));
  const tokens = lane.sum.generated.at(i + 1) - lane.sum.generated.at(i);
  const words = view.say("tip_strip", { share: percent(view.language, share), n: view.num(tokens) });
  const near = lane.changes.filter(({ at }) => at > 0 && at < view.shown(lane) && Math.abs(view.camera.axis.left(lane, at) - x) <= 6);
  const changes = near.map((change) => h("div", { class: "cb-reason" }, `${view.say("at", { n: view.num(change.at) })} · ${changeInWords(view.language, change)}`));
  return [h("div", { class: "cb-tip-head" }, view.say("at", { n: view.num(i) })), h("div", {}, words), ...changes];
}

/** The tooltip of a board. */
export class Tip {
  /** @param {View} view @param {HTMLElement} root the board's element, in which it lies */
  constructor(view, root) {
    this.view = view;
    this.root = root;
    this.element = h("div", { class: "cb-tip", role: "tooltip" });
    this.element.hidden = true;
  }

  /** Handles the pointer over a lane: highlights the request under it. @param {Plot} plot @param {number} x px @param {number} y px @param {PointerEvent | null} event null: it has left */
  point({ lane, index, heights, width }, x, y, event) {
    const { view } = this;
    const { axis } = view.camera;
    const inside = event !== null && x >= 0 && x <= width;
    const i = inside && y >= heights.stripTop - 2 && y < heights.stripTop + heights.strip ? axis.iteration(lane, x) : -1;
    if (event && i >= 0 && i < view.shown(lane)) {
      view.pointed = null;
      view.hover(-1);
      this.show(event, stripLines(view, lane, i, x));
      return;
    }
    const hit = inside ? hitTest(lane, axis, heights, x, y) : null;
    if (!event || !hit || hit.iteration >= view.shown(lane) || hit.span < 0) {
      view.pointed = null;
      this.element.hidden = true;
      view.hover(-1);
      return;
    }
    view.pointed = { lane: index, slot: hit.slot, iteration: hit.iteration };
    if (view.pinned < 0) view.away = x > width / 2 ? "left" : "right";
    view.hover(lane.rows[hit.slot].request[hit.span]);
    this.show(event, cellLines(view, lane, hit.slot, hit.span, hit.iteration));
  }

  /** Shows lines beside the pointer, within the board. @param {PointerEvent} event @param {HTMLElement[]} lines */
  show(event, lines) {
    const { element } = this;
    element.replaceChildren(...lines);
    element.hidden = false;
    const frame = this.root.getBoundingClientRect();
    const box = element.getBoundingClientRect();
    const [px, py] = [event.clientX - frame.left, event.clientY - frame.top];
    element.style.left = `${Math.max(4, Math.min(frame.width - box.width - 6, px + 14))}px`;
    element.style.top = `${py + box.height + 22 > frame.height ? py - box.height - 10 : py + 16}px`;
  }
}
