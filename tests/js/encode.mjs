// Writes blocks as pack.py does, from a drawing of the slots: a second hand, so that the reader is tested against the
// layout and not against itself. One string a slot, one character an iteration: "." idle, "P" prefill, "D" decode,
// "R" recompute, "H" held, "S" stalled; the request of each cell is a digit in `who`.
const STATES = ".PDRHS";

export function block(header, arrays) {
  const listed = Object.entries(arrays).map(([name, [code, values]]) => [name, code, values.length]);
  let head = new TextEncoder().encode(JSON.stringify({ ...header, arrays: listed }));
  head = Uint8Array.from([...head, ...new Uint8Array((8 - (head.length % 8)) % 8).fill(32)]);
  const parts = Object.values(arrays).map(([code, values]) => {
    const Kind = { f8: Float64Array, i4: Int32Array, u1: Uint8Array }[code];
    const data = new Uint8Array(Kind.from(values).buffer);
    return Uint8Array.from([...data, ...new Uint8Array((8 - (data.length % 8)) % 8)]);
  });
  const length = 16 + head.length + parts.reduce((sum, part) => sum + part.length, 0);
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  out.set(new TextEncoder().encode("CBB1"), 0);
  view.setUint32(4, length, true);
  view.setUint32(8, head.length, true);
  out.set(head, 16);
  let at = 16 + head.length;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** rows: [["PDD..", "000.."], …]; marks: [kind, iteration, request, slot, reason]; from/to cut a stretch out. */
export function iterations({ lane = 0, rows, waiting = [], marks = [], seconds = null, pieces = true, from = 0, to = rows[0][0].length }) {
  const slots = rows.length;
  const n = to - from;
  const state = (i, slot) => (i < 0 ? 0 : STATES.indexOf(rows[slot][0][i]));
  const who = (i, slot) => (i < 0 || rows[slot][1][i] === "." ? -1 : Number(rows[slot][1][i]));
  const changes = [];
  const bits = new Uint8Array(Math.ceil((n * slots) / 8));
  const texts = [];
  for (let i = from; i < to; i++)
    for (let slot = 0; slot < slots; slot++) {
      const s = state(i, slot);
      if (s !== state(i - 1, slot) || who(i, slot) !== who(i - 1, slot) || s === 1 || s === 3) changes.push([i, slot, who(i, slot), s, s === 1 || s === 3 ? 4 : 0]);
      // Every decode gives a token, and so does the last prefill or recompute before one, or before an end.
      const gives = s === 2 || ((s === 1 || s === 3) && rows[slot][0][i + 1] !== rows[slot][0][i]);
      if (gives) {
        const bit = (i - from) * slots + slot;
        bits[bit >> 3] |= 128 >> (bit & 7);
        texts.push(`${who(i, slot)}@${i} `);
      }
    }
  const here = marks.filter((mark) => mark[1] >= from && mark[1] < to);
  const reasons = [...new Set(here.map((mark) => mark[4] ?? ""))];
  const time = (i) => (seconds ? seconds[i] : i / 100);
  const column = (pick) => Array.from({ length: n }, (_, row) => pick(row + from));
  return block(
    { kind: "iterations", lane, first: from, n, slots, reasons, pieces: pieces ? texts : null },
    {
      t0: ["f8", column(time)], t1: ["f8", column((i) => time(i + 1))],
      waiting: ["i4", column((i) => waiting[i] ?? 0)], prefill: ["i4", column(() => 0)], recompute: ["i4", column(() => 0)],
      used: ["i4", column(() => 3)], reserved: ["i4", column(() => 2)], padded: ["i4", column(() => 0)],
      change_iteration: ["i4", changes.map((c) => c[0])], change_slot: ["i4", changes.map((c) => c[1])], change_request: ["i4", changes.map((c) => c[2])],
      change_state: ["u1", changes.map((c) => c[3])], change_tokens: ["i4", changes.map((c) => c[4])], gave: ["u1", [...bits]],
      mark_kind: ["u1", here.map((m) => m[0])], mark_iteration: ["i4", here.map((m) => m[1])], mark_request: ["i4", here.map((m) => m[2])],
      mark_slot: ["i4", here.map((m) => m[3])], mark_reason: ["i4", here.map((m) => reasons.indexOf(m[4] ?? ""))],
    },
  );
}

export const meta = (lanes, more = {}) => block({ kind: "meta", meta: { title: "T", lanes, ...more } }, {});
export const requests = (rows, lane = null) => block({ kind: "requests", lane, rows }, {});
