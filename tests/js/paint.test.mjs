import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import { canvasContext } from "./page.mjs";
import { laneOf, story } from "./story.mjs";

const { Axis } = await load("axis");
const { Brushes } = await load("brushes");
const { laneHeights } = await load("layout");
const { needsColumns, paintRows } = await load("paint");
const { INKED } = await load("paint_columns");
const { paintAxis, paintGutter } = await load("paint_axis");
const { paintChanges, paintStrip } = await load("paint_strip");
const states = await load("states");
const { PALETTE, THEMES, colourOf } = await load("theme");

const scene = (lane, more = {}) => ({
  lane, axis: new Axis("iterations", 0, 20), heights: laneHeights(lane.slots, 1, true), width: 600, brushes: new Brushes(THEMES.light, 1), font: "Test",
  lit: -1, language: "en", from: 0, to: 600, draft: false, lanes: 1, label: String, ...more,
});
const painted = (paint, about) => {
  const ctx = canvasContext();
  paint(ctx, about);
  return ctx.painted;
};

test("decoding is a request's own colour, idle the theme's, and a lost slot has a torn edge", () => {
  const calls = painted(paintRows, scene(story()));
  const styles = new Set(calls.map(({ style }) => style));
  for (const request of [0, 1, 2]) assert.ok(styles.has(colourOf(request)));
  for (const colour of [THEMES.light.spare[0], THEMES.light.end, THEMES.light.cursor]) assert.ok(styles.has(colour), colour);
});

test("requests are numbered where there is room", () => {
  const labels = (scale) => painted(paintRows, scene(story(), { axis: new Axis("iterations", 0, scale) })).filter(({ call }) => call === "fillText").map(({ given }) => given[0]);
  assert.deepEqual(labels(20), ["0", "1", "2", "2"]);
  assert.deepEqual(labels(7), ["0"]);
});

test("a long bar has its number in sight wherever a lane stands, however narrow it is", () => {
  const lane = laneOf({ rows: [["D".repeat(60), "0".repeat(60)]] });
  for (const width of [134, 400, 600]) {
    for (let start = 0; start < 10; start += 0.5) {
      const calls = painted(paintRows, scene(lane, { axis: new Axis("iterations", start, 30), width, to: width }));
      const places = calls.filter(({ call, given }) => call === "fillText" && given[0] === "0").map(({ given }) => given[1]);
      assert.ok(places.some((x) => x >= 0 && x + 7 <= width), `${start} at ${width} px: ${places}`);
    }
  }
});

test("a request that stands out is painted over a veil", () => {
  const calls = painted(paintRows, scene(story(), { lit: 2 }));
  const veil = calls.findIndex(({ style, given }) => style === THEMES.light.veil && given[2] === 600);
  assert.ok(veil >= 0);
  const over = new Set(calls.slice(veil).map(({ style }) => style));
  assert.ok(over.has(colourOf(2)) && !over.has(colourOf(0)));
});

test("only the px asked for are painted", () => {
  const calls = painted(paintRows, scene(story(), { from: 0, to: 30 }));
  assert.ok(!calls.some(({ style }) => style === THEMES.light.cursor), "the preemption at 80 px is not");
});

test("many spans become columns of pixels", () => {
  const lane = laneOf({ rows: [["DH".repeat(500), "0".repeat(1000)]] });
  const about = scene(lane, { axis: new Axis("iterations", 0, 0.6) });
  assert.equal(needsColumns(about), true);
  assert.equal(needsColumns(scene(lane)), false);
  assert.ok(painted(paintRows, about).some(({ call }) => call === "drawImage"));
  const { ground } = about.brushes.pixels();
  assert.equal(ground[states.DECODE * 8], (0xff000000 | (parseInt(PALETTE[0].slice(5), 16) << 16) | (parseInt(PALETTE[0].slice(3, 5), 16) << 8) | parseInt(PALETTE[0].slice(1, 3), 16)) >>> 0);
});

test("textured states leave ink in columns, plain ones none", () => {
  const inked = (state) => INKED.subarray(state * 48, state * 48 + 48).some(Boolean);
  for (const state of [states.IDLE, states.PREFILL, states.RECOMPUTE, states.HELD, states.WASTED]) assert.equal(inked(state), true);
  for (const state of [states.DECODE, states.STALLED, states.CLOSED]) assert.equal(inked(state), false);
});

test("the strip's area is occupancy, from full to empty", () => {
  const about = scene(laneOf({ rows: [["DDDDD.....", "00000....."]] }), { axis: new Axis("iterations", 0, 60) });
  const area = painted(paintStrip, about).filter(({ style }) => style === THEMES.light.area).map(({ given }) => given[3]);
  assert.deepEqual(area, [about.heights.strip - 1, 0]);
  assert.deepEqual(painted(paintStrip, scene(laneOf({ rows: [["D", "0"]] }), { from: 300, to: 300 })).filter(({ style }) => style === THEMES.light.area), []);
});

test("a change is a line where it was made, and none at the start", () => {
  const marks = [[6, 0, -1, 1, "slots = 1"], [6, 4, -1, 1, "policy = static"]];
  const lines = painted(paintChanges, scene(laneOf({ rows: [["DDDDD.....", "00000....."]], marks }))).filter(({ call }) => call === "fillRect");
  assert.deepEqual([...new Set(lines.map(({ given }) => given[0]))], [79.5]);
});

test("axis and slots are numbered", () => {
  const texts = (paint, about) => painted(paint, about).filter(({ call }) => call === "fillText").map(({ given }) => given[0]);
  assert.deepEqual(texts(paintAxis, scene(story())), ["0", "5", "10", "15", "20", "iteration (from 0) →"]);
  assert.deepEqual(texts(paintAxis, scene(story(), { heights: laneHeights(2, 2, false) })), [], "a lane above another has ticks alone");
  assert.deepEqual(texts(paintAxis, scene(story(), { axis: new Axis("seconds", 0, 1000) })).slice(0, 3), ["0.0 s", "0.1 s", "0.2 s"]);
  assert.deepEqual(texts(paintGutter, scene(story())), ["0", "1", "slot", "busy"]);
});
