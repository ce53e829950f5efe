import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./modules.mjs";

const { SAID, inWords } = await load("said");

test("what Python says is said in Chinese on a Chinese board, and what others wrote stays", () => {
  assert.equal(inWords("zh", "tiny · cpu · 8 slots · seed 3"), "tiny · cpu · 8 个槽位 · 种子 3");
  assert.equal(inWords("en", "Race"), "Race");
  assert.equal(inWords("zh", "Race"), "竞赛");
  assert.equal(inWords("zh", "My own $1 race"), "My own $1 race");
  assert.equal(inWords("zh", "pause all to prefill when waiting ≥ 1.2 × running or after 20 decodes"), "等待数 ≥ 1.2 × 运行数，或已解码 20 次时，暂停全部请求先做预填充");
  for (const [english] of SAID) assert.match(english.source, /^\^.*\$$/, "whole texts only");
});
