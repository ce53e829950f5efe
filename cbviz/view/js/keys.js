/* The keyboard: every control has a key. */

import { SPEEDS } from "./playhead.js";
import { ADMIT, FINISH, PREEMPT, SET, STALL } from "./states.js";

/** @import { View } from "./view.js" */

/**
 * Actions of the board itself, besides those of its view.
 * @typedef {{table: () => void, help: () => void, language: () => void, escape: () => void}} BoardActs
 */

/** What each key does. @param {View} view @param {BoardActs} acts @param {boolean} shift @returns {Record<string, () => void>} */
export function keyActs(view, acts, shift) {
  const direction = shift ? -1 : 1;
  const speed = (/** @type {number} */ by) => view.setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(view.time.speed) + by))]);
  return {
    " ": () => view.toggle(),
    ArrowLeft: () => view.step(-1, shift ? 10 : 1), ArrowRight: () => view.step(1, shift ? 10 : 1),
    Home: () => (view.pauseView(), view.moveTo(0)), End: () => view.toEnd(),
    "+": () => view.zoom(1.5), "=": () => view.zoom(1.5), "-": () => view.zoom(1 / 1.5), "0": () => view.fit(),
    ",": () => view.pan(-80), ".": () => view.pan(80), "<": () => view.pan(-400), ">": () => view.pan(400),
    "[": () => speed(-1), "]": () => speed(1),
    a: () => view.jump(ADMIT, direction), f: () => view.jump(FINISH, direction), p: () => view.jump(PREEMPT, direction),
    s: () => view.jump(STALL, direction), c: () => view.jump(SET, direction),
    ArrowUp: () => view.choose(0, -1), ArrowDown: () => view.choose(0, 1), PageUp: () => view.choose(-1, 0), PageDown: () => view.choose(1, 0),
    Enter: () => (view.status() === "waiting" ? view.start() : view.pin(view.hovered)),
    u: () => view.setMode(view.time.mode === "iterations" ? "seconds" : "iterations"),
    q: () => view.chooseWaiting(direction),
    r: () => view.startOver(),
    x: () => view.control({ action: "stop" }),
    d: () => view.direct(),
    t: acts.table, l: acts.language, "?": acts.help, Escape: acts.escape,
  };
}

/** What a control with a range or a list answers itself. */
const OWN = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", "Enter"];

/** The key of an event; "" if it belongs to a field, a list, a button, a knob or the browser. @param {KeyboardEvent} event */
export function keyOf(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (target instanceof HTMLInputElement) {
    if (target.type !== "range") return "";
    // The position is the board's own: there the arrows step. A knob keeps its arrows.
    if (key === "Enter" || (target.dataset.knob !== undefined && OWN.includes(key))) return "";
  }
  // In a list letters choose an entry, and Space opens it.
  if (target instanceof HTMLSelectElement && key !== "Escape") return "";
  if (target instanceof HTMLButtonElement && (key === " " || key === "Enter")) return "";
  return key;
}

/** Handles a key press on the board. @param {KeyboardEvent} event @param {View} view @param {BoardActs} acts */
export function pressKey(event, view, acts) {
  const key = keyOf(event);
  const table = keyActs(view, acts, event.shiftKey);
  if (!Object.hasOwn(table, key)) return;
  // The notebook has its own shortcuts for most of these.
  event.preventDefault();
  event.stopPropagation();
  table[key]();
}
