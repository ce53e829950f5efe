/* Why something happened: a key of the catalogue and facts, which every view shows in its own language; or plain text. */

/** @typedef {string | [string, Record<string, any>]} Reason */

/** @param {string} code the line's key without `reason.` @param {Record<string, any>} [facts] @returns {Reason} */
export const reason = (code, facts = {}) => [`reason.${code}`, facts];

export const NO_BLOCK = reason("no_block_free");
export const PREEMPTING = reason("preempting");

/** The reason to put off a request that lacks blocks for its tokens; `kept` blocks must stay free. @param {number} needed @param {number} free @param {number} tokens @param {number} [kept] */
export function lacksBlocks(needed, free, tokens, kept = 0) {
  if (kept) return reason("lacks_blocks_kept", { needed, free: Math.max(0, free), tokens, kept });
  return reason("lacks_blocks_tokens", { needed, free: Math.max(0, free), tokens });
}
