/* One request in a lane: where it is, its times, its text, and the policy's reasons. */

import { lastAtMost } from "./columns.js";
import { ADMIT, HELD, LOSES, PREEMPT, STALL, STALLED } from "./states.js";

/** @import { Lane, RequestRecord } from "./lane.js" */
/** @import { View } from "./view.js" */
/** @typedef {NonNullable<ReturnType<typeof requestAt>>} RequestView */

/**
 * One request over the first k iterations. Times are lane seconds, null if not known yet.
 * @param {Lane} lane
 * @param {number} id
 * @param {number} k
 * @param {number | null} arrival lane seconds, if the workload gives them
 */
export function requestAt(lane, id, k, arrival = null) {
  const record = lane.requests.get(id);
  if (!record || record.arrived < 0 || record.arrived >= k) return null;
  const tokens = lastAtMost(record.tokens, k - 1) + 1;
  const admission = record.admissions.filter((entry) => entry.at < k).pop() ?? null;
  const ended = record.finished >= 0 && record.finished < k;
  const came = arrival ?? lane.t0.at(record.arrived);
  const first = tokens > 0 ? lane.t1.at(record.tokens[0]) : null;
  const last = tokens > 0 ? lane.t1.at(record.tokens[tokens - 1]) : null;
  let status = "s_waiting";
  if (ended) {
    const span = admission ? lane.spanAt(admission.slot, k - 1) : -1;
    const row = admission ? lane.rows[admission.slot] : null;
    status = row && span >= 0 && row.request[span] === id && row.state[span] === HELD ? "s_held" : "s_finished";
  } else if (admission) {
    const lost = record.marks.some((m) => lane.marks[m].kind === PREEMPT && lane.marks[m].at < k && lane.marks[m].at >= admission.at);
    status = lost ? "s_preempted" : "s_running";
  }
  return {
    id, status, tokens, why: ended ? record.why : "",
    text: record.pieces.length ? record.pieces.slice(0, tokens).join("") : null,
    drafts: draftsOf(lane, record, k),
    slot: admission ? admission.slot : -1,
    replaced: admission ? admission.replaced : -1,
    reason: admission ? admission.reason : "",
    waited: admission ? lane.t0.at(record.admissions[0].at) - came : null,
    ttft: first === null ? null : first - came,
    tpot: tokens > 1 && last !== null && first !== null ? (last - first) / (tokens - 1) : null,
    preemptions: record.marks.filter((m) => lane.marks[m].kind === PREEMPT && lane.marks[m].at < k).length,
    admitted: record.admitted >= 0 && record.admitted < k ? record.admitted : -1,
    finished: ended ? record.finished : -1,
  };
}

/** Drafts checked for a request in the first k iterations, and those accepted. @param {Lane} lane @param {RequestRecord} record @param {number} k */
function draftsOf(lane, record, k) {
  const sum = { checked: 0, accepted: 0 };
  if (!record.drafts) return sum;
  for (const { slot, span } of record.spans) {
    const { at, checked, accepted } = lane.drafts[slot];
    const [from, to] = [lane.rows[slot].first[span], Math.min(k, lane.endOf(slot, span))];
    for (let cell = lastAtMost(at, from - 1) + 1; cell < at.length && at[cell] < to; cell++) {
      sum.checked += checked[cell];
      sum.accepted += accepted[cell];
    }
  }
  return sum;
}

/** The policy's reasons for a cell: why a request was admitted, preempted or stalled there. @param {Lane} lane @param {number} slot @param {number} span */
export function reasonsOf(lane, slot, span) {
  const row = lane.rows[slot];
  const record = lane.requests.get(row.request[span]);
  if (!record) return [];
  const [from, to] = [row.first[span], lane.endOf(slot, span)];
  return record.marks.map((m) => lane.marks[m]).filter((mark) => {
    if (mark.kind === ADMIT) return mark.slot === slot && mark.at === stayStart(lane, slot, span);
    if (mark.kind === STALL) return row.state[span] === STALLED && mark.at >= from && mark.at < to;
    if (mark.kind === PREEMPT) return mark.at === to && mark.slot === slot;
    return false;
  });
}

/** First iteration of the unbroken stay of a span's request in its slot. @param {Lane} lane @param {number} slot @param {number} span */
function stayStart(lane, slot, span) {
  const row = lane.rows[slot];
  let j = span;
  while (j > 0 && row.request[j - 1] === row.request[span] && !(row.flags[j - 1] & LOSES)) j--;
  return row.first[j];
}

/**
 * A request in each lane at the moment that a view shows; null if it has not arrived.
 * @param {Pick<View, "run" | "time">} view @param {number} id @returns {(RequestView | null)[]}
 */
export function requestViews({ run, time }, id) {
  return run.lanes.map((lane, index) => requestAt(lane, id, time.shown(lane), run.about(index, id)?.arrival ?? null));
}
