// A small run that tests share.
import assert from "node:assert/strict";
import { iterations, meta, requests } from "./encode.mjs";
import { load } from "./modules.mjs";

const { Lane } = await load("lane");
const { Run } = await load("run");
const { decodeBlock } = await load("wire");

export const ARRIVE = 0, ADMIT = 1, FINISH = 2, PREEMPT = 3, STALL = 4, CANCEL = 5, SET = 6;

// Two slots, three requests. 0 decodes to its end at 3; 1 ends at 1; 2 waits, takes slot 1 at 2, is preempted at 4,
// returns at 6 with a recompute, is stalled at 7, and ends at 9.
export const STORY = {
  rows: [["PDDD......", "0000......"], ["PDPD..RSDD", "1122..2222"]],
  waiting: [1, 1, 0, 0, 1, 1, 0, 0, 0, 0],
  marks: [
    [ARRIVE, 0, 0, -1], [ARRIVE, 0, 1, -1], [ARRIVE, 0, 2, -1], [ADMIT, 0, 0, 0, "nothing running"], [ADMIT, 0, 1, 1, "nothing running"],
    [FINISH, 1, 1, 1, "end"], [ADMIT, 2, 2, 1, "slot free"], [FINISH, 3, 0, 0, "length"], [PREEMPT, 4, 2, 1, "out of blocks"],
    [ADMIT, 6, 2, 1, "blocks free"], [STALL, 7, 2, 1, "prefill first"], [FINISH, 9, 2, 1, "end"],
  ],
};
/** Unequal iterations. */
export const SECONDS = [0, 0.1, 0.15, 0.5, 0.6, 0.7, 0.9, 1, 1.1, 1.4, 2];

/** A lane filled with a block for each stretch between `cuts`. */
export function laneOf(drawing, cuts = [], info = {}) {
  const lane = new Lane({ name: "a", slots: drawing.rows.length, ...info });
  const edges = [0, ...cuts, drawing.rows[0][0].length];
  for (let k = 0; k + 1 < edges.length; k++) {
    const { header, arrays } = decodeBlock(iterations({ ...drawing, from: edges[k], to: edges[k + 1] }));
    assert.equal(lane.append(header, arrays), "taken");
  }
  return lane;
}

/** The story's lane. */
export const story = (options = {}, cuts = []) => laneOf({ ...STORY, ...options }, cuts, { total_blocks: 10 });

/** A run of as many lanes as there are options, each the story with these changes. */
export function storyRun(...options) {
  const run = new Run();
  run.add(meta(options.map((_, lane) => ({ name: "abcd"[lane], slots: 2, total_blocks: 10, summary: ["policy.continuous.summary", {}] }))));
  run.add(requests([[0, "Spell it", 3, 9, null], [1, "Count", 2, 9, null], [2, "<b>Repeat</b>", 4, 9, null]]));
  options.forEach((more, lane) => run.add(iterations({ ...STORY, ...more, lane })));
  return run;
}
