import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const theme = await load("theme");

test("text on every request colour reaches 4.5:1", () => {
  for (const colour of theme.PALETTE) assert.ok(theme.contrast(theme.textOn(colour), colour) >= 4.5, colour);
  assert.ok(new Set(theme.PALETTE.map(theme.textOn)).size === 2, "some labels are dark, some light");
});

test("textures stand out from their ground at 3:1, in both themes", () => {
  for (const colour of theme.PALETTE) assert.ok(theme.contrast(theme.inkOn(colour), colour) >= 3, colour);
  for (const colours of Object.values(theme.THEMES)) {
    for (const [ground, ink] of [colours.held, colours.wasted]) assert.ok(theme.contrast(ground, ink) >= 3, ground);
    for (const colour of theme.PALETTE) assert.ok(theme.contrast(theme.stalledGround(colour, colours), theme.stalledInk(colour, colours)) >= 3);
    assert.ok(theme.contrast(colours.end, colours.ground) >= 3);
    assert.ok(theme.contrast(colours.faint, colours.ground) >= 4.5);
    assert.ok(theme.contrast(colours.cursor, colours.ground) >= 3);
  }
});

test("colours repeat in a cycle, and are taken apart and put together again", () => {
  assert.equal(theme.colourOf(0), theme.PALETTE[0]);
  assert.equal(theme.colourOf(theme.PALETTE.length + 3), theme.PALETTE[3]);
  assert.equal(theme.colourOf(-1), theme.PALETTE[theme.PALETTE.length - 1]);
  assert.deepEqual(theme.rgb("#0a80ff"), [10, 128, 255]);
  assert.equal(theme.hex([10, 128, 255]), "#0a80ff");
  assert.equal(theme.mix("#000000", "#ffffff", 0.5), "#808080");
  assert.equal(theme.contrast("#000000", "#ffffff"), 21);
});
