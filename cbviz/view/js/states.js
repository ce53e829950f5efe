/* The numbers of states, marks and flags, as they travel in blocks. */

/** What a slot does in an iteration. */
export const IDLE = 0;
export const PREFILL = 1;
export const DECODE = 2;
export const RECOMPUTE = 3;
export const HELD = 4;
export const STALLED = 5;
/** Never sent: an idle slot while a request waits. */
export const WASTED = 6;
/** Never sent: an empty slot that is closed because the number of open slots was lowered. */
export const CLOSED = 7;
/** By state number; keys of `WORDS`. */
export const STATE_WORDS = ["idle", "prefill", "decode", "recompute", "held", "stalled", "wasted_idle", "closed"];

/** What happens to a request, and SET: a control was changed. */
export const ARRIVE = 0;
export const ADMIT = 1;
export const FINISH = 2;
export const PREEMPT = 3;
export const STALL = 4;
export const CANCEL = 5;
export const SET = 6;
/** By mark number. */
export const MARKS = ["arrive", "admit", "finish", "preempt", "stall", "cancel", "set"];

/** Flags of a span: its request finishes, is preempted at its end, is admitted at its start. */
export const ENDS = 1;
export const LOSES = 2;
export const ENTERS = 4;
