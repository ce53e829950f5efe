/* Why something happened: a key of the catalogue and facts, which every view shows in its own language; or plain text. */

/** @typedef {string | [string, Record<string, any>]} Reason */

/** Every reason that is a key and facts. A view shows only these, because a scheduler may write what no catalogue has. @type {WeakSet<object>} */
const ours = new WeakSet();

/** @param {string} code the line's key without `reason.` @param {Record<string, any>} [facts] @returns {Reason} */
export const reason = (code, facts = {}) => vouched([`reason.${code}`, facts]);

/** Makes a key and facts one of ours, which never changes: by the engine, or by Python's `Reason`, which has checked it. @param {[string, Record<string, any>]} why @returns {Reason} */
export function vouched(why) {
  Object.freeze(why[1]);
  ours.add(Object.freeze(why));
  return why;
}

/** Whether a value is a key and facts of ours. @param {unknown} value @returns {value is Reason} */
export const isOurs = (value) => typeof value === "object" && value !== null && ours.has(value);

export const NO_BLOCK = reason("no_block_free");
export const PREEMPTING = reason("preempting");

/** The reason to put off a request that lacks blocks for its tokens; `kept` blocks must stay free. @param {number} needed @param {number} free @param {number} tokens @param {number} [kept] */
export function lacksBlocks(needed, free, tokens, kept = 0) {
  if (kept) return reason("lacks_blocks_kept", { needed, free: Math.max(0, free), tokens, kept });
  return reason("lacks_blocks_tokens", { needed, free: Math.max(0, free), tokens });
}
