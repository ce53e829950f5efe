import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";
import "./page.mjs";

const { button, clip, h, setText, wordButton } = await load("dom");

test("direction controls are shown, and long texts lose their middle", () => {
  assert.equal(clip("a\u202Eb"), "a⟨U+202E⟩b");
  const long = clip("x".repeat(100000));
  assert.ok(long.length < 4100 && long.includes(" … "));
  assert.equal(clip("中文 <script>"), "中文 <script>");
});

test("text becomes text, never elements", () => {
  const made = h("p", { class: "x" }, "<b>bold</b>", h("span", {}, "!"));
  assert.deepEqual(made.children.map((child) => child.tag), [undefined, "span"]);
  assert.equal(made.textContent, "<b>bold</b>!");
});

test("whatever takes the focus asks JupyterLab to leave its keys alone", () => {
  const asks = (made) => made.attributes["data-lm-suppress-shortcuts"] === "true";
  for (const tag of ["button", "input", "select"]) assert.equal(asks(h(tag)), true, tag);
  assert.equal(asks(h("div", { tabindex: "0" })), true);
  assert.equal(asks(h("div")), false);
});

test("a text that is there is not written again", () => {
  const made = h("p", {}, "same");
  const [child] = made.children;
  setText(made, "same");
  assert.equal(made.children[0], child);
  setText(made, "other");
  assert.equal(made.textContent, "other");
});

test("buttons act, and say what they do", () => {
  let pressed = 0;
  const made = button("play", "Play", () => pressed++, "M0 0");
  made.fire("click");
  wordButton("Close", () => pressed++).fire("click");
  assert.equal(pressed, 2);
  assert.deepEqual([made.attributes["aria-label"], made.title, made.dataset.action], ["Play", "Play", "play"]);
});
