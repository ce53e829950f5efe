/* Speculative decoding as a lane records it: what became of the drafts of a slot. */

/** @typedef {import("./lane.js").Lane} Lane */

/** What became of the drafts of one slot: iterations, drafts checked, and those accepted. @typedef {{at: number[], checked: number[], accepted: number[]}} Drafts */

/** A slot checked drafts: each accepted one is a token more, whose text its cell has already. @param {Lane} lane @param {number} i @param {number} slot @param {number} checked @param {number} accepted */
export function recordDrafts(lane, i, slot, checked, accepted) {
  const drafts = lane.drafts[slot];
  drafts.at.push(i);
  drafts.checked.push(checked);
  drafts.accepted.push(accepted);
  lane.accepts ||= accepted > 0;
  lane.rejects ||= checked > accepted;
  const record = lane.record(lane.current[slot]);
  record.drafts = true;
  for (let n = 0; n < accepted; n++) {
    record.tokens.push(i);
    if (record.pieces.length) record.pieces.push("");
  }
}
