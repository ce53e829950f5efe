import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { Element, frame, page } from "./page.mjs";
import { SET, storyRun } from "./story.mjs";

const { Board } = await load("board");
const { PALETTE } = await load("theme");

/** A board on a page, with a host where `status` is given; `draw` lets frames pass until nothing is left to do. */
function make({ run = storyRun({}, { pieces: false }), status = null, autoplay = false, alone = false, language = "en", ...state } = {}) {
  page.frames.length = page.observers.length = 0;
  document.body.replaceChildren();
  const sent = [];
  const engine = { status, actions: [], knobs: [], refusal: "", ...state };
  const board = new Board(document.body, run, { autoplay, alone, language, host: status && { state: () => engine, send: (message) => sent.push(message) } });
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
  assert.equal(root.all("cb-inspector")[0].hidden, true, "an empty box shows nothing");
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
  assert.equal(root.all("cb-inspector")[0].hidden, true);
});

test("a pointer over a cell lights its request, a click keeps it, a drag pans", () => {
  const { board, draw, root, text } = make();
  draw();
  const plot = root.all("cb-plot")[0];
  const scale = board.view.camera.axis.scale;
  const at = (iteration, slot) => ({ pointerId: 1, clientX: 32 + (iteration + 0.5) * scale, clientY: 12 + slot * 24 + 10 });
  plot.fire("pointermove", at(3, 1));
  assert.equal(draw().lit, "2");
  assert.match(text("cb-tip"), /^request 2 · decodeslot 1 · iteration 3/);
  assert.match(text("cb-tip"), /admitted: slot freepreempted: out of blocks$/);
  plot.fire("pointerdown", at(3, 1));
  plot.fire("pointerup", at(3, 1));
  assert.equal(draw().pinned, "2");
  plot.fire("pointermove", { ...at(3, 0), clientY: 12 + 48 + 3 + 7 });
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
  const x = 32 + 4 * board.view.camera.axis.scale + 1;
  plot.fire("pointerdown", { pointerId: 1, clientX: x, clientY: 12 + 48 + 3 + 20 });
  assert.equal(draw().iteration, "4");
});

test("a wheel with Ctrl zooms around the pointer, and a plain one is left to the page", () => {
  const { board, draw, root } = make();
  draw();
  const plot = root.all("cb-plot")[0];
  const before = board.view.camera.axis;
  plot.fire("wheel", { deltaY: 100, deltaX: 0, clientX: 130, clientY: 10 });
  assert.equal(board.view.camera.axis, before);
  plot.fire("wheel", { deltaY: -100, deltaX: 0, ctrlKey: true, clientX: 532, clientY: 10 });
  assert.ok(board.view.camera.axis.scale > before.scale);
  assert.ok(Math.abs(board.view.camera.axis.value(500) - before.value(500)) < 1e-9);
  plot.fire("dblclick");
  assert.equal(draw().fitted, "true");
});

test("the verdict comes at the end, with what made the difference and notes", () => {
  const run = storyRun({}, {});
  run.meta.finish = {
    headline: ["verdict.pair_iterations", { first: "20", last: "10" }], beside: ["verdict.because_held", { policy: "a", n: 7, count: "7" }],
    lines: [["verdict.ratio", { worse: "a", better: "b", times: "2.00" }], ["verdict.same", { n: 3, count: "3" }]], timed: false,
  };
  const { board, draw, text } = make({ run });
  draw();
  assert.equal(text("cb-verdict"), "20 → 10 iterationsa computed 7 slots for answers that had ended.");
  assert.equal(text("cb-notes"), "a took 2.00 times as many iterations as b. All 3 answers are the same, token by token.");
  const how = /^A row is a slot, a column one iteration, a colour a request/;
  assert.match(text("cb-how"), how, "also at the finish");
  board.view.moveTo(2);
  draw();
  assert.equal(text("cb-so-far"), "so far as many requests finished in b as in a");
  assert.match(text("cb-how"), how);
});

test("during a race its board says why a lane is behind: what is held so far", () => {
  const rows = [["PDDDDDDDDD", "0000000000"], ["PDHHHHHHHH", "1111111111"]];
  const { board, draw, text } = make({ run: storyRun({ rows, marks: [] }, {}) });
  const after = (iterations) => {
    board.view.moveTo(iterations);
    draw();
    return text("cb-finish");
  };
  assert.equal(after(2), "so far b has finished 1, a 0", "nothing is held yet");
  assert.match(after(3), /a computed 1 slot for an answer that had ended\.$/);
  assert.match(after(8), /a computed 6 slots for answers that had ended\.$/);
});

test("a result from before verdicts still opens: each lane's length", () => {
  const run = storyRun({}, {});
  run.meta.finish = { speedup: 2.113, iteration_ratio: 2, cost_ratio: 1.0565, clock: "alone", compared: 3, identical: 3 };
  const { draw, text } = make({ run });
  draw();
  assert.equal(text("cb-verdict"), "a: 10 iterations · b: 10 iterations", "a tenth of a second is too short to time");
  assert.equal(text("cb-notes"), "");
});

test("a run too short to time shows counts only, and several lanes are named while they run", () => {
  const run = storyRun({}, {}, {});
  run.meta.finish = { timed: false, lines: [["verdict.too_short", {}]] };
  const { board, draw, text, root } = make({ run });
  draw();
  assert.equal(text("cb-verdict"), "a: 10 iterations · b: 10 iterations · c: 10 iterations");
  const timed = () => ["cb-verdict", "cb-table-box"].map(text).join(" ").match(/\d (s|ms)\b|tokens\/s|TTFT/);
  root.all("cb-table-box")[0].hidden = false;
  board.view.refresh();
  draw(10);
  assert.match(text("cb-table-box"), /iterations/);
  assert.equal(timed(), null);
  run.meta.finish = undefined;
  board.view.refresh();
  draw(10);
  assert.equal(timed(), null, "a live run of a tenth of a second is no measurement either");
  run.meta.finish = { clock: "virtual" };
  board.view.refresh();
  draw(10);
  assert.notEqual(timed(), null, "a cost model's seconds are exact, however few");
  run.meta.finish = { timed: true };
  board.view.refresh();
  draw(20);
  assert.notEqual(timed(), null, "and where it was long enough, times are shown");
  run.meta.finish = { timed: false };
  board.view.moveTo(2);
  draw();
  assert.match(text("cb-so-far"), /^so far requests finished: /);
});

test("live knobs and buttons send controls, and a refusal is shown", () => {
  const run = storyRun({ to: 9 }, { to: 9 }); // request 2 has not ended
  const knobs = [{ name: "slots", label: "Slots", low: 1, high: 8, step: 1, value: 2 }, { name: "policy", label: "Policy", choices: ["a", "b"], value: "b" }];
  const { board, draw, root, engine, sent, text, press } = make({ run, status: "running", knobs, actions: ["stop", "burst", "cancel"] });
  let data = draw();
  assert.deepEqual([data.live, data.playing, text("cb-status")], ["true", "true", "live"]);
  const [slider, choice] = root.all("cb-knob").map((label) => label.children[1]);
  slider.value = "5";
  slider.fire("input");
  assert.equal(root.all("cb-knob")[0].children[2].textContent, "5");
  slider.fire("change");
  choice.value = "a";
  choice.fire("change");
  root.all("cb-acts")[0].children[0].fire("click");
  board.view.pin(0);
  draw();
  assert.equal(root.all("cb-facts-box")[0].children.length, 1, "a request that has ended offers no Cancel");
  board.view.pin(2);
  draw();
  root.all("cb-facts-box")[0].children.at(-1).fire("click");
  press("stop");
  assert.deepEqual(sent, [{ action: "set", name: "slots", value: 5 }, { action: "set", name: "policy", value: "a" }, { action: "burst" }, { action: "cancel", request: 2 }, { action: "stop" }]);
  data = draw();
  assert.deepEqual([data.asked, text("cb-status")], ["stop", "stopping: waits for the kernel"]);
  assert.ok("disabled" in root.querySelector('[data-action="stop"]').attributes);
  engine.status = "stopping";
  engine.refusal = "this is refused.";
  board.refresh();
  assert.deepEqual([draw().asked, text("cb-status"), text("cb-message")], ["", "stopping: waits for the pass in flight", "this is refused."]);
  engine.status = "stopped";
  board.refresh();
  assert.deepEqual([draw().live, text("cb-status"), root.all("cb-controls")[0].hidden], ["false", "stopped", false]);
  assert.ok(root.all("cb-knob").every((label) => "disabled" in label.children[1].attributes), "what no longer acts says so");
  assert.equal(text("cb-over"), "These were its last settings; call cbviz.play again to change them.");
  assert.equal(root.all("cb-acts")[0].children.length, 0);
});

test("a changed value goes into the knob that is there, which keeps the focus", () => {
  const knobs = [{ name: "slots", label: "Slots", low: 1, high: 8, step: 1, value: 2 }, { name: "policy", label: "Policy", choices: ["a", "b"], value: "b" }];
  const { board, draw, root, engine } = make({ status: "running", knobs, actions: ["burst"] });
  draw();
  const [slider, choice] = root.all("cb-knob").map((label) => label.children[1]);
  slider.focus();
  engine.knobs = [{ ...knobs[0], value: 6 }, { ...knobs[1], value: "a" }];
  board.refresh();
  draw();
  assert.equal(root.all("cb-knob")[0].children[1], slider);
  assert.deepEqual([slider.value, choice.value, root.all("cb-knob")[0].children[2].textContent], ["6", "a", "6"]);
  assert.equal(document.activeElement, slider);
  slider.value = "3"; // being moved
  board.refresh();
  draw();
  assert.equal(slider.value, "3");
});

test("the last changes are listed below the knobs, newest first, each once", () => {
  const knobs = [{ name: "slots", label: "Slots", low: 1, high: 8, step: 1, value: 2 }];
  const marks = [[SET, 0, -1, 2, "slots = 2"], ...[2, 4, 5, 6, 8].map((at) => [SET, at, -1, 1 + (at % 2), `slots = ${1 + (at % 2)}`])];
  const { draw, root, text } = make({ run: storyRun({ marks }, { marks }), status: "running", knobs });
  draw();
  assert.deepEqual(root.all("cb-history")[0].children.map((line) => line.textContent), ["iteration 8: slots 1 → 1", "iteration 6: slots 2 → 1", "iteration 5: slots 1 → 2", "iteration 4: slots 1 → 1"]);
  assert.match(text("cb-c-occupancy"), /occupancy lately/);
  assert.equal(root.all("cb-trend")[0].hidden, false);
});

test("without knobs, a burst is a button at the top while the run is live", () => {
  const { board, draw, root, engine, sent, press } = make({ status: "running", actions: ["burst"] });
  draw();
  assert.equal(root.all("cb-controls")[0].hidden, true);
  press("burst");
  assert.deepEqual(sent, [{ action: "burst" }]);
  engine.status = "finished";
  board.refresh();
  draw();
  assert.equal(root.querySelector('[data-action="burst"]').hidden, true);
});

test("keys without a focus are the board's only where the page has nothing else", () => {
  for (const alone of [true, false]) {
    const { board, draw } = make({ alone });
    draw();
    document.body.fire("keydown", { key: " " });
    assert.equal(board.view.time.playing, alone);
    board.destroy();
  }
});

test("a slot that is freed flashes, and its successor flies in from the queue", () => {
  page.motions.length = 0;
  const { board, draw, root } = make({ autoplay: true });
  draw(1);
  board.view.time.moveTo(2); // request 1 has just ended in slot 1
  board.view.time.playing = true;
  root.all("cb-plot");
  for (const panel of board.parts.lanes.panels) panel.flights.last = 1;
  board.parts.lanes.panels[0].flights.draw();
  assert.deepEqual(page.motions.map(({ element }) => element.attributes.class), ["cb-flash"]);
  board.view.time.cursor = 3;
  board.parts.lanes.panels[0].flights.draw();
  const flier = page.motions.at(-1).element;
  assert.deepEqual([flier.attributes.class, flier.textContent, flier.style.background], ["cb-chip cb-flier", "2", PALETTE[2]]);
  for (const { onfinish } of page.motions) onfinish();
  assert.equal(root.all("cb-flier").length + root.all("cb-flash").length, 0);
  const query = window.matchMedia("(prefers-reduced-motion: reduce)");
  query.matches = true;
  board.parts.lanes.panels[0].flights.last = 1;
  board.parts.lanes.panels[0].flights.draw();
  assert.equal(page.motions.length, 2, "with less motion nothing flies");
  query.matches = false;
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
  assert.match(changes.textContent, /31 slot$/);
  assert.equal(box.children[0].children[2].children.length, 1, "only request 0 has arrived");
  assert.match(text("cb-legend"), /a change/);
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

test("a mark in the text and the bars of its request light each other up", () => {
  const { board, draw } = make();
  const mark = document.createElement("b");
  mark.setAttribute("class", "cbviz-ref");
  mark.append("2");
  document.body.append(mark);
  draw();
  mark.fire("pointerover");
  assert.deepEqual([draw().lit, mark.dataset.lit], ["2", "true"]);
  mark.fire("pointerout");
  assert.deepEqual([draw().lit, mark.dataset.lit], ["-1", undefined]);
  mark.fire("click");
  assert.equal(draw().pinned, "2");
  mark.tabIndex = -1;
  mark.fire("focusin");
  mark.fire("focusout");
  assert.equal(mark.tabIndex, 0, "the Tab key reaches a mark that was rendered after the board");
  board.view.pin(1);
  draw();
  assert.equal(mark.dataset.lit, undefined, "another request stands out");
  board.destroy();
  mark.fire("click");
  assert.equal(board.view.pinned, 1, "a board that is gone hears nothing");
});

test("a run's own labels name its requests", async () => {
  const { Run } = await load("run");
  const { requests } = await import("./encode.mjs");
  const run = new Run();
  run.add(requests([[0, "S1", 2, 9, null], [1, "S1 and more", 2, 9, null], [7, "", 2, 9, null]]));
  assert.deepEqual([0, 1, 7, 9].map((id) => run.label(id)), ["S1", "1", "7", "9"]);
  assert.deepEqual(["S1", "7", "S3"].map((label) => run.named(label)), [0, 7, -1]);
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
  assert.deepEqual(root.all("cb-legend")[0].dataset.shown.split(" "), ["prefill", "decode", "stalled", "recompute", "idle", "wasted_idle", "end_mark", "preempt_mark"], "what occurs");
});

test("forced colours are the system's own", () => {
  const query = window.matchMedia("(forced-colors: active)");
  query.matches = true;
  const { board } = make();
  assert.equal(board.look.theme.spare[1], "#000000");
  assert.match(board.look.name, /forced/);
  query.matches = false;
});

test("while a run computes its texts come ten times a second, and the last ones always", () => {
  const { board, draw, root, engine, text } = make({ run: storyRun({}, { pieces: false }), status: "running" });
  draw();
  let written = 0, time = 10_000;
  const drawTexts = board.drawTexts.bind(board);
  board.drawTexts = (now) => {
    written++;
    drawTexts(now);
  };
  for (let k = 0; k < 20; k++) {
    board.run.version++; // a block has come
    board.changed();
    frame((time += 10));
  }
  assert.ok(written >= 2 && written <= 3, `${written} in 200 ms`);
  for (let k = 0; k < 12; k++) frame((time += 10)); // nothing more comes
  assert.equal(board.textKey.split(" ").includes(String(board.run.version)), true);
  engine.status = "finished";
  board.refresh();
  const before = written;
  frame((time += 10));
  assert.equal(written, before + 1, "the end is said at once");
  assert.equal(root.dataset.status, "finished");
  assert.equal(text("cb-title"), "T");
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

test("restart is a button and a key, and empties the board", () => {
  const knobs = [{ name: "slots", label: "Slots", low: 1, high: 8, step: 1, value: 2 }];
  const { board, draw, root, sent, press } = make({ run: storyRun({ to: 9 }, { to: 9 }), status: "running", knobs, actions: ["burst", "restart"] });
  draw();
  press("restart");
  root.fire("keydown", { key: "r" });
  assert.deepEqual(sent, [{ action: "restart" }, { action: "restart" }]);
  board.view.pin(1);
  board.view.zoom(2);
  draw();
  board.run.restart();
  board.restart();
  const data = draw();
  assert.deepEqual([data.iteration, data.received, data.pinned, data.camera, data.follow], ["0", "0 0", "-1", "director", "true"]);
});

test("why a highlighted request waits is asked of the engine, and said in each lane", () => {
  const { board, draw, root, engine, sent, text } = make({ run: storyRun({ to: 2 }, { to: 2 }), status: "running", actions: ["why"] });
  draw();
  const [lane] = board.run.lanes;
  const waits = lane.queue.waiting(lane.n, 5)[0].request;
  root.fire("keydown", { key: "q" });
  draw();
  draw();
  assert.deepEqual(sent, [{ action: "why", request: waits }], "not with every frame");
  assert.equal(root.all("cb-why")[0].hidden, true);
  engine.why = { type: "why", request: waits, reasons: ["no slot is free", ["why.behind", { request: 1 }]] };
  board.refresh();
  draw();
  assert.equal(root.all("cb-why")[0].hidden, false);
  assert.deepEqual(root.all("cb-why")[0].children.map((line) => line.textContent), ["waits under a: no slot is free", "waits under b: behind request 1"]);
  engine.why = { ...engine.why, request: waits + 100 };
  board.refresh();
  draw();
  assert.equal(root.all("cb-why")[0].hidden, true, "an answer about another request");
  assert.match(text("cb-inspector"), /waiting/);
});

test("a run that has ended offers Restart where its engine can begin anew, and says that it waits for the kernel", () => {
  const knobs = [{ name: "slots", label: "Slots", low: 1, high: 8, step: 1, value: 2 }];
  for (const [meta, name] of [[{ knobs }, "restart"], [{}, "run-again"]]) {
    const run = storyRun({}, {});
    Object.assign(run.meta, meta);
    const { board, draw, root, engine, sent, text, press } = make({ run, status: "recorded", knobs: undefined, actions: ["restart"] });
    draw();
    const buttons = ["restart", "run-again"].map((action) => root.all(`cb-${action}`)[0]).map((found) => found !== undefined && !found.hidden);
    assert.deepEqual(buttons, [name === "restart", name === "run-again"], "one button, wherever it is");
    assert.equal(root.querySelector('[data-action="stop"]').hidden, true);
    if (meta.knobs) assert.equal(text("cb-over"), "These were its last settings; Restart runs it again with them.");
    press(name);
    assert.deepEqual([sent, draw() && text("cb-status")], [[{ action: "restart" }], "starting: waits for the kernel"]);
    engine.refusal = "its cell has run again.";
    board.refresh();
    draw();
    assert.deepEqual([text("cb-status"), text("cb-message")], ["", "its cell has run again."]);
    engine.actions = [];
    root.fire("keydown", { key: "r" });
    assert.equal(sent.length, 1, "its engine is gone");
    board.destroy();
  }
});

test("a race that still runs offers no Restart, and a playground does", () => {
  const { draw, root, sent } = make({ status: "running", actions: ["restart"] });
  draw();
  assert.equal(root.all("cb-run-again")[0].hidden, true);
  root.fire("keydown", { key: "r" });
  assert.deepEqual(sent, []);
});

test("before the first iteration nothing is said of the queue", () => {
  const run = storyRun({ to: 0 }, { to: 0 });
  const { draw, root, text } = make({ run, status: "waiting" });
  draw();
  assert.deepEqual(root.all("cb-waiting").map((waiting) => waiting.textContent), ["", ""]);
  assert.equal(text("cb-hidden"), "a: 2 slots, no iteration yet. b: 2 slots, no iteration yet.");
});
