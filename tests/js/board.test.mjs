import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { Element, frame, page } from "./page.mjs";
import { SET, storyRun } from "./story.mjs";

const { Board } = await load("board");
const { PALETTE } = await load("theme");

/** A board on a page, with a host where `status` is given; `draw` lets frames pass until nothing is left to do. */
function make({ run = storyRun({}, { pieces: false }), status = null, autoplay = false, language = "en", ...state } = {}) {
  page.frames.length = page.observers.length = 0;
  document.body.replaceChildren();
  const sent = [];
  const engine = { status, actions: [], knobs: [], refusal: "", ...state };
  const board = new Board(document.body, run, { autoplay, language, host: status && { state: () => engine, send: (message) => sent.push(message) } });
  let time = 0;
  const draw = (frames = 3) => {
    for (let k = 0; k < frames; k++) frame((time += 200));
    return board.root.dataset;
  };
  const text = (name, which = 0) => board.root.all(name)[which]?.textContent;
  const press = (action) => board.root.querySelector(`[data-action="${action}"]`).fire("click");
  return { board, root: board.root, engine, sent, draw, text, press };
}

test("a recorded run is shown as a whole, with its counters", () => {
  const { draw, root, text } = make();
  const data = draw();
  assert.deepEqual([data.lanes, data.iteration, data.received, data.painted, data.status, data.theme], ["2", "10", "10 10", "10 10", "recorded", "light"]);
  const panel = root.all("cb-lane")[0];
  assert.deepEqual(["iterations", "finished", "occupancy", "wasted"].map((name) => panel.all(`cb-c-${name}`)[0].children[0].textContent), ["10", "3/3", "50%", "6"]);
  assert.equal(text("cb-title"), "T");
  assert.equal(text("cb-place"), "iteration 10 of 10");
  assert.equal(text("cb-waiting"), "none waiting");
  assert.equal(text("cb-kv"), "50%KV");
});

test("texts follow the cursor", () => {
  const { board, draw, root, text } = make();
  draw();
  board.view.moveTo(5);
  assert.equal(draw().iteration, "5");
  assert.equal(text("cb-place"), "iteration 5 of 10");
  assert.equal(text("cb-waiting"), "1 waiting");
  const chips = root.all("cb-lane")[0].all("cb-chip").filter((chip) => !chip.hidden);
  assert.deepEqual(chips.map((chip) => [chip.dataset.request, chip.dataset.again, chip.style.background]), [["2", "true", PALETTE[2]]]);
  chips[0].fire("pointerenter");
  assert.equal(draw().lit, "2");
});

test("the inspector shows a request in both lanes, and its text as text", () => {
  const { board, draw, root, text } = make();
  draw();
  assert.match(text("cb-inspector"), /Point at a request/);
  board.view.pin(2);
  draw();
  assert.equal(text("cb-prompt"), "<b>Repeat</b>");
  assert.equal(text("cb-output"), "2@2 2@3 2@6 2@8 2@9 ");
  const rows = root.all("cb-facts")[0].children[1].children.map((row) => row.children.map((cell) => cell.textContent));
  assert.deepEqual(rows[0], ["status", "finished (END)", "finished (END)"]);
  assert.deepEqual(rows[1], ["slot", "1, freed by 1", "1, freed by 1"]);
  assert.deepEqual(rows.at(-1), ["admitted", "blocks free", "blocks free"]);
  root.all("cb-release")[0].fire("click");
  assert.equal(draw().pinned, "-1");
});

test("a pointer over a cell lights its request, a click keeps it, a drag pans", () => {
  const { board, draw, root, text } = make();
  draw();
  const plot = root.all("cb-plot")[0];
  const scale = board.view.camera.axis.scale;
  const at = (iteration, slot) => ({ pointerId: 1, clientX: 30 + (iteration + 0.5) * scale, clientY: 4 + slot * 26 + 10 });
  plot.fire("pointermove", at(3, 1));
  assert.equal(draw().lit, "2");
  assert.match(text("cb-tip"), /^request 2 · decodeslot 1 · iteration 3/);
  assert.match(text("cb-tip"), /admitted: slot freepreempted: out of blocks$/);
  plot.fire("pointerdown", at(3, 1));
  plot.fire("pointerup", at(3, 1));
  assert.equal(draw().pinned, "2");
  plot.fire("pointermove", { ...at(3, 0), clientY: 4 + 52 + 8 + 10 });
  assert.equal(text("cb-tip"), "iteration 3100% of the slots useful, 2 tokens");
  plot.fire("pointerleave", {});
  assert.equal(root.all("cb-tip")[0].hidden, true);
  board.view.zoom(3, 0);
  plot.fire("pointerdown", at(0, 0));
  plot.fire("pointermove", { ...at(0, 0), clientX: -100 });
  plot.fire("pointerup", at(0, 0));
  assert.equal(draw().fitted, "false");
  assert.ok(board.view.camera.axis.start > 0);
  assert.equal(board.view.pinned, 2, "a drag is no click");
});

test("a drag on the axis moves the time", () => {
  const { board, draw, root } = make();
  draw();
  const plot = root.all("cb-plot")[0];
  const x = 30 + 4 * board.view.camera.axis.scale + 1;
  plot.fire("pointerdown", { pointerId: 1, clientX: x, clientY: 4 + 52 + 8 + 30 });
  assert.equal(draw().iteration, "4");
});

test("a wheel with Ctrl zooms around the pointer, and a plain one is left to the page", () => {
  const { board, draw, root } = make();
  draw();
  const plot = root.all("cb-plot")[0];
  const before = board.view.camera.axis;
  plot.fire("wheel", { deltaY: 100, deltaX: 0, clientX: 130, clientY: 10 });
  assert.equal(board.view.camera.axis, before);
  plot.fire("wheel", { deltaY: -100, deltaX: 0, ctrlKey: true, clientX: 530, clientY: 10 });
  assert.ok(board.view.camera.axis.scale > before.scale);
  assert.ok(Math.abs(board.view.camera.axis.value(500) - before.value(500)) < 1e-9);
  plot.fire("dblclick");
  assert.equal(draw().fitted, "true");
});

test("the verdict comes at the end, with its factors and notes", () => {
  const run = storyRun({}, {});
  run.meta.finish = { speedup: 2.113, iteration_ratio: 2, cost_ratio: 1.0565, clock: "alone", repeats: 3, speedup_range: [2, 2.2], compared: 3, identical: 3 };
  const { board, draw, text } = make({ run });
  draw();
  assert.equal(text("cb-verdict"), "2.11×b was faster than a measured=2.00×fewer iterations×1.06×cost of an iteration, a ÷ b");
  assert.equal(text("cb-notes"), "3 runs, 2.00× to 2.20× Same answers: 3 of 3. Each run had the device for itself.");
  board.view.moveTo(2);
  draw();
  assert.equal(text("cb-so-far"), "so far as many requests finished in b as in a");
});

test("live knobs and buttons send controls, and a refusal is shown", () => {
  const knobs = [{ name: "slots", label: "Slots", low: 1, high: 8, step: 1, value: 2 }, { name: "policy", label: "Policy", choices: ["a", "b"], value: "b" }];
  const { board, draw, root, engine, sent, text, press } = make({ status: "running", knobs, actions: ["stop", "burst", "cancel"] });
  let data = draw();
  assert.deepEqual([data.live, data.playing, text("cb-status")], ["true", "true", "live"]);
  const [slider, choice] = root.all("cb-knob").map((label) => label.children[1]);
  slider.value = "5";
  slider.fire("input");
  assert.equal(root.all("cb-knob")[0].children[2].textContent, "5");
  slider.fire("change");
  choice.value = "a";
  choice.fire("change");
  root.all("cb-controls")[0].children.at(-1).fire("click");
  board.view.pin(0);
  draw();
  root.all("cb-facts-box")[0].children.at(-1).fire("click");
  press("stop");
  assert.deepEqual(sent, [{ action: "set", name: "slots", value: 5 }, { action: "set", name: "policy", value: "a" }, { action: "burst" }, { action: "cancel", request: 0 }, { action: "stop" }]);
  data = draw();
  assert.deepEqual([data.asked, text("cb-status")], ["stop", "stopping: waits for the kernel"]);
  assert.ok("disabled" in root.querySelector('[data-action="stop"]').attributes);
  engine.status = "stopping";
  engine.refusal = "this is refused.";
  board.refresh();
  assert.deepEqual([draw().asked, text("cb-status"), text("cb-message")], ["", "stopping: waits for the pass in flight", "this is refused."]);
  engine.status = "stopped";
  board.refresh();
  assert.deepEqual([draw().live, text("cb-status"), root.all("cb-controls")[0].hidden], ["false", "stopped", true]);
});

test("the other language keeps the focus, an open table and the place", () => {
  const { board, draw, root, text, press } = make();
  draw();
  press("table");
  root.querySelector('[data-action="language"]').focus();
  board.view.moveTo(5);
  press("language");
  const data = draw();
  assert.deepEqual([data.language, data.iteration, root.lang, text("cb-place")], ["zh", "5", "zh-CN", "迭代 5 / 10"]);
  assert.equal(document.activeElement, root.querySelector('[data-action="language"]'));
  assert.equal(root.all("cb-table-box")[0].hidden, false);
  assert.match(text("cb-table-box"), /到目前为止的全部请求/);
  assert.equal(text("cb-lane-summary"), "槽位空出后，下一次迭代立即补入");
});

test("the table has a row for each request in each lane, and the changes", () => {
  const run = storyRun({ marks: [[0, 0, 0, -1], [SET, 3, -1, 1, "slots = 1"]] });
  const { draw, root, press, text } = make({ run });
  draw();
  press("table");
  draw();
  const [lanes, changes, box] = root.all("cb-table-box")[0].children;
  assert.equal(lanes.children[1].children.length, 1);
  assert.match(changes.textContent, /31 slots$/);
  assert.equal(box.children[0].children[2].children.length, 1, "only request 0 has arrived");
  assert.match(text("cb-legend"), /a control was changed/);
});

test("Escape closes what is open, and then releases the request", () => {
  const { board, draw, root, press } = make();
  draw();
  board.view.pin(1);
  press("help");
  press("table");
  const hidden = () => [root.all("cb-help-box")[0].hidden, root.all("cb-table-box")[0].hidden, board.view.pinned];
  const seen = [hidden()];
  for (let k = 0; k < 3; k++) {
    root.fire("keydown", { key: "Escape" });
    seen.push(hidden());
  }
  assert.deepEqual(seen, [[false, false, 1], [true, false, 1], [true, true, 1], [true, true, -1]]);
});

test("it plays by itself unless the reader wants less motion", () => {
  assert.equal(make({ autoplay: true }).draw(1).playing, "true");
  const query = window.matchMedia("(prefers-reduced-motion: reduce)");
  query.matches = true;
  const still = make({ autoplay: true }).draw(1);
  assert.deepEqual([still.playing, still.iteration], ["false", "10"]);
  query.matches = false;
});

test("the theme is that of the page behind it, and follows it", () => {
  const { board, draw, root } = make();
  assert.equal(draw().theme, "light");
  document.body.ground = "rgb(17, 20, 24)";
  const observer = page.observers.find((made) => made.watched.includes(document.body));
  observer.react([]);
  assert.equal(draw().theme, "dark");
  assert.equal(board.look.theme.ground, "#111418");
  document.body.ground = undefined;
  assert.equal(root.all("cb-legend-entry").length, 11);
});

test("forced colours are the system's own", () => {
  const query = window.matchMedia("(forced-colors: active)");
  query.matches = true;
  const { board } = make();
  assert.equal(board.look.theme.spare[1], "#000000");
  assert.match(board.look.name, /forced/);
  query.matches = false;
});

test("off screen nothing is drawn, but what was received is known", () => {
  const { board, draw } = make();
  const frames = draw().frames;
  board.appeared(false);
  board.refresh();
  assert.deepEqual([draw().frames, draw().received], [frames, "10 10"]);
  board.appeared(true);
  assert.equal(Number(draw(1).frames), Number(frames) + 1);
});

test("a summary for screen readers, and its end", () => {
  const run = storyRun({});
  run.meta.finish = { speedup: null };
  const { draw, root, text, engine, board } = make({ run, status: "running" });
  draw();
  assert.match(text("cb-hidden"), /^a: 2 slots, 10 iterations shown, 3 of 3 requests finished, occupancy 50%, 6 wasted slot-iterations, 0 waiting\.$/);
  assert.equal(root.all("cb-canvas")[0].attributes["aria-label"], text("cb-hidden"));
  engine.status = "finished";
  board.refresh();
  draw(1);
  assert.doesNotMatch(text("cb-hidden"), /ended/, "not twice within two seconds");
  board.refresh();
  draw(12);
  board.refresh();
  draw(1);
  assert.match(text("cb-hidden"), / The run has ended\.$/);
  board.destroy();
});

test("a board without lanes says so and breaks at nothing; they may come later", async () => {
  const { Run } = await load("run");
  const run = new Run();
  const { board, draw, text, press } = make({ run });
  draw();
  assert.equal(text("cb-finish"), "No iteration yet.");
  for (const action of ["seconds", "iterations", "zoom-in", "fit", "back", "forward", "next", "table", "language"]) press(action);
  draw();
  run.setLanes([{ name: "a", slots: 2 }]);
  board.refresh();
  assert.equal(draw().lanes, "1");
});

test("a destroyed board leaves the page and watches nothing", () => {
  const { board, draw } = make();
  draw();
  board.destroy();
  board.changed();
  assert.equal(page.frames.length, 0);
  assert.deepEqual(document.body.children, []);
  assert.ok(page.observers.every((observer) => observer.watched.length === 0));
  assert.ok(Element.prototype.isPrototypeOf(board.root));
});
