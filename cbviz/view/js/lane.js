/* One lane of a run: its iterations, the spans of each slot, its marks. */

import { recordDrafts } from "./drafts.js";
import { Column, lastAtMost } from "./columns.js";
import { Queue } from "./queue.js";
import { ADMIT, ARRIVE, CANCEL, CLOSED, DECODE, ENDS, ENTERS, FINISH, HELD, IDLE, LOSES, MARKS, PREEMPT, PREFILL, RECOMPUTE, SET, STALLED, WASTED } from "./states.js";

/** @import { Arrays, Header } from "./wire.js" */

/**
 * @typedef {object} RequestRecord
 * @property {number} id
 * @property {number} arrived iteration, -1 if not yet
 * @property {number} admitted
 * @property {number} finished
 * @property {string} why it finished
 * @property {{slot: number, span: number}[]} spans
 * @property {number[]} tokens iteration of each output token
 * @property {string[]} pieces
 * @property {boolean} drafts whether any were checked for it
 * @property {number[]} marks indices into the lane's marks
 * @property {{at: number, slot: number, replaced: number, reason: string}[]} admissions
 */

/** @typedef {import("./drafts.js").Drafts} Drafts */

/** A slot that changes hands: `request` enters `slot` at iteration `at`, after `replaced`. @typedef {{at: number, slot: number, request: number, replaced: number}} Refill */

const NONE = new Int32Array(0);

/** One lane of a run, filled block by block. All queries are about the first `k` iterations. */
export class Lane {
  /** @param {{name: string, summary?: string, slots: number, total_blocks?: number}} info */
  constructor(info) {
    this.name = info.name;
    this.summary = info.summary ?? "";
    this.slots = info.slots;
    this.totalBlocks = info.total_blocks ?? 0;
    /** Iterations known. */
    this.n = 0;
    this.t0 = new Column(Float64Array);
    this.t1 = new Column(Float64Array);
    this.waiting = new Column(Int32Array);
    this.used = new Column(Int32Array);
    this.reserved = new Column(Int32Array);
    /** Sums over the iterations before i: entry i belongs to the first i iterations. */
    this.sum = {
      useful: new Column(Float64Array), wasted: new Column(Float64Array), generated: new Column(Float64Array),
      finished: new Column(Float64Array), arrived: new Column(Float64Array), prefill: new Column(Float64Array),
      open: new Column(Float64Array), held: new Column(Float64Array),
    };
    for (const column of Object.values(this.sum)) column.push(0);
    this.mostTokens = 1;
    /** Spans of each slot, without gaps: span j lasts from first[j] to first[j + 1] (or to n). */
    this.rows = Array.from({ length: this.slots }, () => ({
      first: /** @type {number[]} */ ([]), request: /** @type {number[]} */ ([]), state: /** @type {number[]} */ ([]),
      tokens: /** @type {number[]} */ ([]), flags: /** @type {number[]} */ ([]),
    }));
    /** The cells of each slot that checked drafts, in order. @type {Drafts[]} */
    this.drafts = Array.from({ length: this.slots }, () => ({ at: [], checked: [], accepted: [] }));
    /** Whether a draft was accepted, and whether one was rejected. */
    this.accepts = false;
    this.rejects = false;
    this.current = new Int32Array(this.slots).fill(-1);
    this.currentState = new Uint8Array(this.slots);
    this.counts = new Int32Array(8);
    /** By state: 1 if a slot was ever in it. */
    this.occurs = new Uint8Array(8);
    this.requestsWait = false;
    /** Number of open slots. The highest empty slots are closed, so that at most this many can be busy. */
    this.limit = this.slots;
    this.shut = new Uint8Array(this.slots);
    /** Changes made during the run, in order: "name = value", and the value before, "" at the start. @type {{at: number, words: string, before: string}[]} */
    this.changes = [];
    /** The values that were set last. @type {Map<string, string>} */
    this.set = new Map();
    /** @type {Map<number, RequestRecord>} */
    this.requests = new Map();
    /** @type {{kind: number, at: number, request: number, slot: number, reason: string}[]} */
    this.marks = [];
    /** The iteration of each mark. */
    this.marksAt = new Column(Int32Array);
    /** Iterations that carry each kind of mark, for jumps. */
    this.byKind = MARKS.map(() => /** @type {number[]} */ ([]));
    this.queue = new Queue();
    /** Requests in the order of their first tokens, and the iterations of these. */
    this.firsts = { at: /** @type {number[]} */ ([]), request: /** @type {number[]} */ ([]) };
    /** The first slot that changed hands while the request of another slot ran on. @type {Refill | null} */
    this.refill = null;
  }

  /** A request's record, created at its first event. @param {number} id @returns {RequestRecord} */
  record(id) {
    let record = this.requests.get(id);
    if (!record) {
      record = { id, arrived: -1, admitted: -1, finished: -1, why: "", spans: [], tokens: [], pieces: [], drafts: false, marks: [], admissions: [] };
      this.requests.set(id, record);
    }
    return record;
  }

  /**
   * Adds one block of iterations. Returns "old" if all of it is known, "gap" if iterations before it are missing, else
   * "taken".
   * @param {Header} header
   * @param {Arrays} arrays
   * @returns {"taken" | "old" | "gap"}
   */
  append(header, arrays) {
    if (header.first > this.n) return "gap";
    if (header.first + header.n <= this.n) return "old";
    const slots = this.slots;
    const gave = /** @type {Uint8Array} */ (arrays.gave);
    const { change_iteration: ci, change_slot: cs, change_request: cr, change_state: cq, change_tokens: ct } = arrays;
    const { draft_iteration: di = NONE, draft_slot: ds = NONE, draft_checked: dc = NONE, draft_accepted: da = NONE } = arrays;
    const { mark_kind: mk, mark_iteration: mi, mark_request: mr, mark_slot: ms, mark_reason: mw } = arrays;
    let change = 0;
    let mark = 0;
    let piece = 0;
    let draft = 0;
    for (let row = 0; row < header.n; row++) {
      const i = header.first + row;
      if (i < this.n) {
        // Already known: this block is a whole run, or the backlog for a view that opened later.
        while (mark < mi.length && mi[mark] === i) mark++;
        while (change < ci.length && ci[change] === i) change++;
        while (draft < di.length && di[draft] === i) draft++;
        for (let bit = row * slots; bit < (row + 1) * slots; bit++) if (gave[bit >> 3] & (128 >> (bit & 7))) piece++;
        continue;
      }
      const before = mark;
      // A preempted request loses its slot before this iteration's changes.
      while (mark < mi.length && mi[mark] === i) {
        if (mk[mark] === PREEMPT && ms[mark] >= 0) this.flag(ms[mark], LOSES);
        mark++;
      }
      let limit = this.limit;
      for (let m = before; m < mark; m++) if (mk[m] === SET && ms[m] >= 0) limit = ms[m];
      const waits = arrays.waiting[row] > 0;
      if (waits !== this.requestsWait || limit < slots || limit !== this.limit) {
        this.requestsWait = waits;
        this.limit = limit;
        this.shutSlots(i, change, ci, cs, cq);
      }
      while (change < ci.length && ci[change] === i) {
        this.openSpan(i, cs[change], cr[change], cq[change], ct[change]);
        change++;
      }
      if (i === 0) for (let slot = 0; slot < slots; slot++) if (!this.rows[slot].first.length) this.openSpan(0, slot, -1, IDLE, 0);
      let finished = 0;
      let arrived = 0;
      for (let m = before; m < mark; m++) {
        if (mk[m] === FINISH) finished++;
        if (mk[m] === ARRIVE) arrived++;
        this.note(mk[m], i, mr[m], ms[m], header.reasons[mw[m]] ?? "");
      }
      let generated = 0;
      for (let slot = 0; slot < slots; slot++) {
        const bit = row * slots + slot;
        if (gave[bit >> 3] & (128 >> (bit & 7))) {
          const record = this.record(this.current[slot]);
          if (!record.tokens.length) {
            this.firsts.at.push(i);
            this.firsts.request.push(record.id);
          }
          record.tokens.push(i);
          if (header.pieces) {
            while (record.pieces.length < record.tokens.length - 1) record.pieces.push("");
            record.pieces.push(header.pieces[piece] ?? "");
          } else if (record.pieces.length) record.pieces.push(""); // a block of tokens without text, such as END alone
          piece++;
          generated++;
        }
      }
      for (; draft < di.length && di[draft] === i; draft++) {
        generated += da[draft];
        recordDrafts(this, i, ds[draft], dc[draft], da[draft]);
      }
      this.mostTokens = Math.max(this.mostTokens, generated);
      this.t0.push(arrays.t0[row]);
      this.t1.push(arrays.t1[row]);
      this.waiting.push(arrays.waiting[row]);
      this.used.push(arrays.used[row]);
      this.reserved.push(arrays.reserved[row]);
      const c = this.counts;
      const s = this.sum;
      s.useful.push(s.useful.at(i) + c[PREFILL] + c[DECODE]);
      s.wasted.push(s.wasted.at(i) + c[RECOMPUTE] + c[HELD] + c[STALLED] + c[WASTED]);
      s.generated.push(s.generated.at(i) + generated);
      s.finished.push(s.finished.at(i) + finished);
      s.arrived.push(s.arrived.at(i) + arrived);
      s.prefill.push(s.prefill.at(i) + arrays.prefill[row]);
      s.open.push(s.open.at(i) + slots - c[CLOSED]);
      s.held.push(s.held.at(i) + c[HELD]);
      this.n = i + 1;
    }
    return "taken";
  }

  /**
   * Decides which slots are closed in iteration i, after its changes; empty slots begin a new span if they open or
   * close.
   * @param {number} i
   * @param {number} change the first of its changes
   * @param {ArrayLike<number>} ci @param {ArrayLike<number>} cs @param {ArrayLike<number>} cq iteration, slot and state of each change
   */
  shutSlots(i, change, ci, cs, cq) {
    const next = this.currentState.slice();
    const stays = new Uint8Array(this.slots).fill(1);
    for (let c = change; c < ci.length && ci[c] === i; c++) {
      next[cs[c]] = cq[c];
      stays[cs[c]] = 0;
    }
    let open = this.limit;
    for (let slot = 0; slot < this.slots; slot++) if (next[slot] !== IDLE) open--;
    for (let slot = 0; slot < this.slots; slot++) {
      this.shut[slot] = next[slot] === IDLE && open-- <= 0 ? 1 : 0;
      if (stays[slot] && next[slot] === IDLE && this.rows[slot].first.length) this.openSpan(i, slot, -1, IDLE, 0);
    }
  }

  /** Drafts checked and accepted in one cell, or null. @param {number} slot @param {number} i */
  draftsAt(slot, i) {
    const { at, checked, accepted } = this.drafts[slot];
    const cell = lastAtMost(at, i);
    return cell >= 0 && at[cell] === i ? { checked: checked[cell], accepted: accepted[cell] } : null;
  }

  /** Begins a span, or extends the last one if nothing changed. @param {number} i @param {number} slot @param {number} request @param {number} state @param {number} tokens */
  openSpan(i, slot, request, state, tokens) {
    const row = this.rows[slot];
    const shown = state !== IDLE ? state : this.shut[slot] ? CLOSED : this.requestsWait ? WASTED : IDLE;
    const last = row.first.length - 1;
    if (last >= 0 && row.request[last] === request && row.state[last] === shown && !(row.flags[last] & (ENDS | LOSES))) {
      row.tokens[last] += tokens;
      return;
    }
    if (last >= 0) this.counts[row.state[last]]--;
    this.counts[shown]++;
    this.occurs[shown] = 1;
    row.first.push(i);
    row.request.push(request);
    row.state.push(shown);
    row.tokens.push(tokens);
    row.flags.push(0);
    this.current[slot] = request;
    this.currentState[slot] = state;
    if (request >= 0) this.record(request).spans.push({ slot, span: last + 1 });
  }

  /** Marks the newest span of a slot. @param {number} slot @param {number} flag */
  flag(slot, flag) {
    const row = this.rows[slot];
    if (row && row.first.length) row.flags[row.first.length - 1] |= flag;
  }

  /** Adds a mark. @param {number} kind @param {number} at @param {number} request @param {number} slot @param {string} reason */
  note(kind, at, request, slot, reason) {
    if (kind === SET) {
      const [name, ...value] = reason.split(" = ");
      this.changes.push({ at, words: reason, before: this.set.get(name) ?? "" });
      this.set.set(name, value.join(" = "));
      if (at > 0 && this.byKind[SET][this.byKind[SET].length - 1] !== at) this.byKind[SET].push(at);
      return;
    }
    const record = this.record(request);
    record.marks.push(this.marks.length);
    this.marks.push({ kind, at, request, slot, reason });
    this.marksAt.push(at);
    const places = this.byKind[kind];
    if (places[places.length - 1] !== at) places.push(at);
    if (kind === ARRIVE) {
      record.arrived = at;
      this.queue.enter(request, at, false);
    } else if (kind === PREEMPT) {
      this.queue.enter(request, at, true);
    } else if (kind === ADMIT) {
      if (record.admitted < 0) record.admitted = at;
      this.queue.leave(request, at);
      let replaced = -1;
      if (slot >= 0) {
        this.flag(slot, ENTERS);
        const row = this.rows[slot];
        for (let j = row.first.length - 2; j >= 0 && replaced < 0; j--) if (row.request[j] !== request) replaced = row.request[j];
      }
      record.admissions.push({ at, slot, replaced, reason });
      if (this.refill === null && replaced >= 0 && this.runsOn(slot, at)) this.refill = { at, slot, request, replaced };
    } else if (kind === FINISH) {
      record.finished = at;
      record.why = reason;
      if (slot >= 0) this.flag(slot, ENDS);
    } else if (kind === CANCEL) {
      if (record.finished < 0) {
        record.finished = at;
        record.why = "cancelled";
      }
      this.queue.leave(request, at);
    }
  }

  /** Whether a slot was ever held. */
  get held() {
    return this.occurs[HELD] > 0;
  }

  /** Whether a request admitted before an iteration runs on in a slot other than this one. @param {number} slot @param {number} at */
  runsOn(slot, at) {
    for (let other = 0; other < this.slots; other++) {
      if (other === slot || this.current[other] < 0 || this.currentState[other] === HELD) continue;
      const { admitted } = this.record(this.current[other]);
      if (admitted >= 0 && admitted < at) return true;
    }
    return false;
  }

  /** The settings during iteration k - 1: the newest change of every name, ordered by name. @param {number} k */
  settings(k) {
    /** @type {Map<string, string>} */
    const values = new Map();
    for (const { at, words } of this.changes) {
      if (at >= k && at > 0) break;
      const [name, ...rest] = words.split(" = ");
      values.set(name, rest.join(" = "));
    }
    return values;
  }

  /** Span of a slot that covers iteration i; -1 if there is none. @param {number} slot @param {number} i */
  spanAt(slot, i) {
    if (i < 0 || i >= this.n || !this.rows[slot]) return -1;
    return lastAtMost(this.rows[slot].first, i);
  }

  /** Iteration after the last one of a span. @param {number} slot @param {number} span */
  endOf(slot, span) {
    const first = this.rows[slot].first;
    return span + 1 < first.length ? first[span + 1] : this.n;
  }

  /** Lane seconds at the end of the first k iterations. @param {number} k */
  secondsAt(k) {
    return k > 0 ? this.t1.at(Math.min(k, this.n) - 1) : 0;
  }

  /** How many iterations had ended at a lane time. @param {number} seconds */
  iterationsAt(seconds) {
    return lastAtMost(this.t1.data, seconds + 1e-12, this.n) + 1;
  }

  /** Counters over the first k iterations. @param {number} k */
  counters(k) {
    const useful = this.sum.useful.at(k);
    const seconds = this.secondsAt(k);
    const generated = this.sum.generated.at(k);
    return {
      finished: this.sum.finished.at(k),
      occupancy: k ? useful / this.sum.open.at(k) : NaN,
      wasted: this.sum.wasted.at(k),
      held: this.sum.held.at(k),
      generated,
      rate: seconds > 0 ? generated / seconds : NaN,
      waiting: k ? this.waiting.at(k - 1) : 0,
      used: k ? this.used.at(k - 1) : 0,
      reserved: k ? this.reserved.at(k - 1) : 0,
      seconds,
    };
  }

  /** Counters over the last iterations of the first k: what a change does shows there. @param {number} k @param {number} window iterations */
  recent(k, window) {
    const from = Math.max(0, k - window);
    const { useful, wasted, open, generated } = this.sum;
    const seconds = this.secondsAt(k) - this.secondsAt(from);
    const over = (/** @type {Column} */ sum) => sum.at(k) - sum.at(from);
    return { occupancy: k ? over(useful) / over(open) : NaN, wasted: over(wasted), rate: seconds > 0 ? over(generated) / seconds : NaN };
  }

  /** What the lane is called: the policy that was set last, or its name. @param {number} k iterations shown */
  title(k) {
    return (this.changes.length ? this.settings(k).get("policy") : undefined) ?? this.name;
  }

  /**
   * Iterations shown so that the next (or previous) mark of a kind has just happened; null if there is none.
   * @param {number} kind
   * @param {number} k iterations shown now
   * @param {1 | -1} direction
   */
  jump(kind, k, direction) {
    const places = this.byKind[kind];
    const at = direction > 0 ? lastAtMost(places, k - 1, places.length) + 1 : lastAtMost(places, k - 2, places.length);
    return at >= 0 && at < places.length ? places[at] + 1 : null;
  }
}
