import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { Button, Element, Input, Select } from "./page.mjs";
import { storyRun } from "./story.mjs";

const { keyActs, keyOf, pressKey } = await load("keys");
const { View } = await load("view");

/** A board's keys, and what they called. */
function make() {
  const called = [];
  const acts = Object.fromEntries(["table", "help", "language", "escape"].map((name) => [name, () => called.push(name)]));
  const view = new View(storyRun({}), { changed: () => {}, tell: () => {} });
  view.camera.measure(600);
  const press = (key, more = {}) => {
    const event = { key, target: new Element("section"), prevented: 0, preventDefault() { this.prevented++; }, stopPropagation() { this.prevented++; }, ...more };
    pressKey(event, view, acts);
    return event.prevented === 2;
  };
  return { view, called, press, acts };
}
const input = (type) => {
  const made = new Input("input");
  made.setAttribute("type", type);
  return made;
};

test("keys step, jump, play, choose and keep", () => {
  const { view, press } = make();
  assert.equal(press("Home"), true);
  assert.equal(view.time.now(), 0);
  press("ArrowRight");
  press("ArrowRight", { shiftKey: true });
  assert.equal(view.time.now(), 10);
  press("ArrowLeft");
  press("f", { shiftKey: true });
  assert.equal(view.time.now(), 4, "the finish before");
  press("ArrowDown");
  press("Enter");
  assert.equal(view.pinned, 0);
  press("u");
  assert.equal(view.time.mode, "seconds");
  press("U");
  assert.equal(view.time.mode, "iterations");
  press(" ");
  assert.equal(view.time.playing, true);
});

test("speed stays within what is offered", () => {
  const { view, press } = make();
  for (let k = 0; k < 20; k++) press("]");
  assert.equal(view.time.speed, 64);
  for (let k = 0; k < 20; k++) press("[");
  assert.equal(view.time.speed, 0.25);
});

test("table, help, language and Escape are the board's", () => {
  const { called, press } = make();
  for (const key of ["t", "?", "l", "Escape"]) press(key);
  assert.deepEqual(called, ["table", "help", "language", "escape"]);
});

test("other keys, and those that belong to a field, a list, a button or the browser, are left alone", () => {
  const { press } = make();
  for (const key of ["y", "Tab", "toString", "constructor"]) assert.equal(press(key), false, key);
  for (const held of ["ctrlKey", "metaKey", "altKey"]) assert.equal(press("a", { [held]: true }), false, held);
  assert.equal(press("a", { target: input("text") }), false);
  assert.equal(press("ArrowLeft", { target: input("range") }), true);
  assert.equal(press("Enter", { target: input("range") }), false);
  assert.equal(press("a", { target: new Select("select") }), false);
  assert.equal(press("Escape", { target: new Select("select") }), true);
  assert.equal(press(" ", { target: new Button("button") }), false);
  assert.equal(press("a", { target: new Button("button") }), true);
});

test("arrows, Home and End inside a knob are the knob's, and its other keys the board's", () => {
  const { view, press } = make();
  view.moveTo(4);
  const knob = input("range");
  knob.dataset.knob = "rate";
  for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", "Enter"]) assert.equal(press(key, { target: knob }), false, key);
  assert.equal(view.time.now(), 4);
  assert.equal(press(" ", { target: knob }), true);
  assert.equal(view.time.playing, true);
  assert.equal(press("d", { target: knob }), true);
  assert.equal(view.director.directs, true, "D gives the camera back");
});

test("the help names every key", async () => {
  const { view, acts } = make();
  const { helpBox } = await load("help");
  const shown = [];
  const walk = (element) => (element.tag === "kbd" ? shown.push(element.textContent) : element.children.forEach(walk));
  walk(helpBox(view, () => {}));
  const names = { Space: " ", "←": "ArrowLeft", "→": "ArrowRight", "↑": "ArrowUp", "↓": "ArrowDown", "−": "-", PgUp: "PageUp", PgDn: "PageDown", Esc: "Escape" };
  const named = new Set(shown.map((key) => names[key] ?? (key.length === 1 ? key.toLowerCase() : key)));
  const unnamed = Object.keys(keyActs(view, acts, false)).filter((key) => !named.has(key));
  assert.deepEqual(unnamed, ["=", "<", ">"], "these are + and the wider , and . on some keyboards");
  assert.equal(keyOf({ key: "A", target: null }), "a");
});
