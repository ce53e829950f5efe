import assert from "node:assert/strict";
import { test } from "node:test";
import "./page.mjs";
import { frame } from "./page.mjs";
import { load } from "./modules.mjs";

const { Board } = await load("board");
const { Run } = await load("run");

/** A board of a run that waits, and what it sends. */
function waiting() {
  const run = new Run();
  run.setLanes([{ name: "static", slots: 2, total_blocks: 10 }]);
  const state = { status: "waiting", actions: ["start", "pause", "stop", "burst"], knobs: [], refusal: "" };
  const sent = [];
  const board = new Board(document.body, run, { language: "en", host: { state: () => state, send: (message) => sent.push(message) } });
  const draw = () => {
    board.refresh();
    for (let at = 0; at < 3; at++) frame(1000 * at + 1000);
  };
  draw();
  return { board, state, sent, draw, start: board.parts.starter };
}
const press = (board, key) => board.root.fire("keydown", { key });

test("a run waits behind one button, which says what it waits for", () => {
  const { board, state, sent, draw, start } = waiting();
  assert.equal(start.element.hidden, false);
  assert.deepEqual([board.root.dataset.status, board.root.dataset.live, board.parts.transport.live.hidden], ["waiting", "true", true]);
  assert.equal(board.parts.transport.status.textContent, "waits for Start");
  assert.equal(board.parts.header.burst.hidden, true);
  start.button.focus();
  start.button.fire("click");
  start.button.fire("click");
  draw();
  assert.deepEqual(sent, [{ action: "start" }]);
  assert.equal(start.button.textContent, "starting: waits for the kernel");
  assert.equal(board.root.dataset.asked, "start");
  assert.ok("disabled" in start.button.attributes);
  state.status = "running";
  draw();
  assert.equal(start.element.hidden, true);
  assert.equal(board.root.dataset.asked, "");
  assert.equal(document.activeElement, board.root, "the keys stay the board's");
  assert.equal(board.parts.header.burst.hidden, false);
  board.destroy();
});

for (const key of [" ", "Enter"])
  test(`${key === " " ? "Space" : key} starts it`, () => {
    const { board, sent, state, draw } = waiting();
    press(board, key);
    press(board, key);
    assert.deepEqual(sent, [{ action: "start" }]);
    state.status = "running";
    draw();
    press(board, " ");
    assert.deepEqual(sent.at(-1), { action: "pause" });
    board.destroy();
  });

test("Stop before Start is asked for once", () => {
  const { board, sent, draw, start } = waiting();
  press(board, "x");
  draw();
  assert.deepEqual(sent, [{ action: "stop" }]);
  assert.ok("disabled" in start.button.attributes);
  board.destroy();
});
