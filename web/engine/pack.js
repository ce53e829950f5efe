/* A run as bytes: the blocks that the board reads, laid out as `cbviz/view/pack.py` says. */
import { ADMIT, ARRIVE, FINISH, PREEMPT, PREFILL, RECOMPUTE, STALL } from "../../cbviz/view/js/states.js";
/** @import { Iteration } from "./loop.js" */
/** @import { Request } from "../workload/task_workload.js" */

const MAGIC = 0x31424243;
const HEAD = 16;
/** @param {number} length rounded up to a multiple of 8 */
const padded = (length) => Math.ceil(length / 8) * 8;
/** @param {Float64Array | Int32Array | Uint8Array} array */
const codeOf = (array) => (array instanceof Float64Array ? "f8" : array instanceof Int32Array ? "i4" : "u1");

/** Header and arrays as one block. @param {Record<string, any>} header @param {Record<string, Float64Array | Int32Array | Uint8Array>} [arrays] @returns {Uint8Array<ArrayBuffer>} */
export function block(header, arrays = {}) {
  const listed = Object.entries(arrays).map(([name, array]) => [name, codeOf(array), array.length]);
  const text = new TextEncoder().encode(JSON.stringify({ ...header, arrays: listed }));
  const head = padded(text.length);
  const length = HEAD + head + Object.values(arrays).reduce((sum, array) => sum + padded(array.byteLength), 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  [MAGIC, length, head, 0].forEach((number, i) => view.setUint32(4 * i, number, true));
  bytes.fill(32, HEAD, HEAD + head);
  bytes.set(text, HEAD);
  let at = HEAD + head;
  for (const array of Object.values(arrays)) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += padded(array.byteLength);
  }
  return bytes;
}

/** Prompts, the same in every lane. @param {Request[]} requests */
export const requestsBlock = (requests) => block({ kind: "requests", lane: null, rows: requests.map(({ id, text, prompt, max_new_tokens }) => [id, text, prompt.length, max_new_tokens, null]) });

/** Encodes one lane's iterations as blocks, and keeps the slots' state between blocks: slots are stored as changes. */
export class LaneEncoder {
  /** @param {number} lane @param {number} slots */
  constructor(lane, slots) {
    this.lane = lane;
    this.slots = slots;
    /** Iterations encoded so far. */
    this.count = 0;
    this.request = Array(slots).fill(-1);
    this.state = Array(slots).fill(0);
  }

  /** One block for consecutive iterations. @param {Iteration[]} batch @param {(token: number) => string} textOf */
  encode(batch, textOf) {
    /** @type {[number, number, number, number, number][]} */
    const changes = [];
    const gave = new Uint8Array(Math.ceil((batch.length * this.slots) / 8));
    /** @type {string[]} */
    const pieces = [];
    batch.forEach((event, row) => {
      for (let slot = 0; slot < this.slots; slot++) {
        const takesIn = event.state[slot] === PREFILL || event.state[slot] === RECOMPUTE;
        if (takesIn || event.request[slot] !== this.request[slot] || event.state[slot] !== this.state[slot]) {
          changes.push([event.index, slot, event.request[slot], event.state[slot], takesIn ? event.tokens[slot] : 0]);
        }
        if (event.token[slot] < 0) continue;
        const bit = row * this.slots + slot;
        gave[bit >> 3] |= 128 >> (bit & 7);
        pieces.push(textOf(event.token[slot]));
      }
      this.request = event.request;
      this.state = event.state;
    });
    /** @type {Map<string, number>} */
    const reasons = new Map();
    const marks = batch.flatMap(marksOf).map(({ reason, ...mark }) => {
      const key = JSON.stringify(reason);
      if (!reasons.has(key)) reasons.set(key, reasons.size);
      return { ...mark, why: reasons.get(key) ?? 0 };
    });
    const header = {
      kind: "iterations", lane: this.lane, first: this.count, n: batch.length, slots: this.slots,
      reasons: [...reasons.keys()].map((key) => JSON.parse(key)), pieces: pieces.some(Boolean) ? pieces : null,
    };
    this.count += batch.length;
    const column = (/** @type {(event: Iteration) => number} */ of) => Int32Array.from(batch, of);
    const change = (/** @type {number} */ place) => Int32Array.from(changes, (entry) => entry[place]);
    const fed = (/** @type {number} */ wanted) => column(({ state, tokens }) => tokens.reduce((sum, count, slot) => (state[slot] === wanted ? sum + count : sum), 0));
    return block(header, {
      t0: Float64Array.from(batch, ({ t_start }) => t_start),
      t1: Float64Array.from(batch, ({ t_end }) => t_end),
      waiting: column(({ waiting }) => waiting),
      prefill: fed(PREFILL),
      recompute: fed(RECOMPUTE),
      used: column(({ blocks_used }) => blocks_used),
      reserved: column(({ blocks_reserved }) => blocks_reserved),
      padded: column(() => 0),
      change_iteration: change(0),
      change_slot: change(1),
      change_request: change(2),
      change_state: Uint8Array.from(changes, (entry) => entry[3]),
      change_tokens: change(4),
      gave,
      mark_kind: Uint8Array.from(marks, ({ kind }) => kind),
      mark_iteration: Int32Array.from(marks, ({ at }) => at),
      mark_request: Int32Array.from(marks, ({ request }) => request),
      mark_slot: Int32Array.from(marks, ({ slot }) => slot),
      mark_reason: Int32Array.from(marks, ({ why }) => why),
    });
  }
}

/** What happened in an iteration, in the order of `cbviz/trace/marks.py`. @param {Iteration} event */
function marksOf({ index: at, arrived, preempted, admitted, stalled, finished }) {
  const arrivals = arrived.map((request) => ({ request, slot: -1, reason: /** @type {any} */ ("") }));
  return /** @type {const} */ ([[ARRIVE, arrivals], [PREEMPT, preempted], [ADMIT, admitted], [STALL, stalled], [FINISH, finished]]).flatMap(([kind, marks]) =>
    marks.map(({ request, slot, reason }) => ({ kind, at, request, slot, reason })),
  );
}
