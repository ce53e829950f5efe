import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "./modules.mjs";

const { WORDS, inWords, languageOf, nextLanguage, sentence } = await load("catalogue");
const cases = JSON.parse(readFileSync(new URL("../messages.json", import.meta.url), "utf8"));

test("a line is filled in as Python fills it in", () => {
  try {
    for (const [words, facts, filled] of cases.lines) {
      WORDS.en["board.test"] = words;
      assert.equal(sentence("en", "board.test", facts), filled);
    }
  } finally {
    delete WORDS.en["board.test"];
  }
  for (const [key, facts, filled] of cases.counts) assert.equal(sentence("en", key, facts), filled);
  assert.throws(() => sentence("en", "board.nonsense"), /no words for board.nonsense/);
  assert.throws(() => sentence("en", "board.waiting"), /needs n/);
});

test("a message is said in the board's language, and what others wrote stays", () => {
  const subtitle = ["board.dotted", { first: "tiny", second: ["board.subtitle_slots", { n: 8, count: "8" }] }];
  assert.equal(inWords("zh", subtitle), "tiny · 8 个槽位");
  assert.equal(inWords("en", subtitle), "tiny · 8 slots");
  assert.equal(inWords("zh", ["board.title_race", {}]), "竞赛");
  assert.equal(inWords("zh", "My own $1 race"), "My own $1 race");
  assert.equal(inWords("zh", "ratio met"), "ratio met", "text that reads like a message is none");
  assert.equal(inWords("zh", ["policy.tgi.summary", { ratio: 1.2, decodes: 20 }]), "等待数 ≥ 1.2 × 运行数，或已解码 20 次时，暂停全部请求先做预填充");
  assert.equal(inWords("zh", ["reason.then", { first: "mine", second: ["reason.swapped_in", { blocks: 3 }] }]), "mine；它的 3 个 KV 块从主机内存换入");
});

test("the switch goes through all languages, English first", () => {
  assert.equal(languageOf("zh"), "zh");
  assert.equal(languageOf("xx"), "en");
  assert.equal(languageOf(undefined), "en");
  const seen = new Set(["en"]);
  for (let language = nextLanguage("en"); language !== "en"; language = nextLanguage(language)) seen.add(language);
  assert.deepEqual([...seen], Object.keys(WORDS));
});
