"""Runs as bytes: the format in which Python sends a live or recorded run to the board.

A **block** holds consecutive iterations of one lane (or some requests, or the board's titles). A **run** is a sequence
of blocks. Live increments, the whole run in the widget's state and the run inside the stand-alone page consist of the
same blocks, so the JavaScript has one reader (`decodeBlock` in `js/wire.js`).

Block layout, little-endian: magic ``CBB1`` · uint32 length of the block · uint32 length of the header · uint32 zero ·
header (UTF-8 JSON, padded with spaces) · arrays. Every part is padded to 8 bytes. The header's ``arrays`` lists
``[name, dtype, length]`` in order; dtypes are ``f8``, ``i4`` and ``u1``.

Slots are stored as *changes*: one row whenever a slot's request or state differs from the iteration before, and one for
every iteration of a prefill (whose tokens count). That is about three rows per request.

Where slots checked drafts, a block also has ``draft_iteration``, ``draft_slot``, ``draft_checked`` and
``draft_accepted``, a row for each such cell; its text is that of all tokens that it gave.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import TraceError
from cbviz.events import NO_REQUEST, FinishReason, Iteration, State
from cbviz.messages import as_json
from cbviz.trace.check import check_size
from cbviz.trace.marks import FINISH, MarkRow, in_order, rows_of
from cbviz.trace.trace import Trace

MAGIC = b"CBB1"
_HEAD = struct.Struct("<4sIII")
_DTYPES: dict[str, Any] = {"f8": np.dtype("<f8"), "i4": np.dtype("<i4"), "u1": np.dtype("u1")}

Array = npt.NDArray[Any]
Pieces = Mapping[int, str]
"""Slot → the text that its token added to its request's output in one iteration."""


@dataclass(frozen=True, slots=True)
class RequestText:
    """What the board shows of a request before it runs. `arrival` is in lane seconds, None if unknown."""

    id: int
    prompt: str
    prompt_tokens: int
    max_new_tokens: int
    arrival: float | None = None


@dataclass(slots=True)
class LaneEncoder:
    """Encodes one lane's iterations as blocks, and keeps the slots' state between blocks.

    Raises `TraceError` if iterations are out of order or have another number of slots.
    """

    lane: int
    slots: int
    count: int = 0
    """Iterations encoded so far."""
    _request: Array = field(init=False)
    _state: Array = field(init=False)

    def __post_init__(self) -> None:
        self._request = np.full(self.slots, NO_REQUEST, dtype=np.int32)
        self._state = np.zeros(self.slots, dtype=np.uint8)

    def encode(self, batch: Sequence[tuple[Iteration, Pieces]]) -> bytes:
        """One block for consecutive iterations. An empty batch gives an empty block."""
        iterations = [iteration for iteration, _ in batch]
        for i, iteration in enumerate(iterations, start=self.count):
            if iteration.index != i:
                raise TraceError(f"lane {self.lane} expected iteration {i} and got iteration {iteration.index}.")
            if iteration.slots != self.slots:
                raise TraceError(f"lane {self.lane} has {self.slots} slots, but iteration {i} has {iteration.slots}.")
        n = len(batch)
        if n == 0:
            request = np.empty((0, self.slots), dtype=np.int32)
            state, tokens, gave = request.astype(np.uint8), request, request.astype(bool)
        else:
            request = np.stack([it.request for it in iterations])
            state = np.stack([it.state for it in iterations])
            tokens = np.stack([it.tokens for it in iterations])
            gave = np.stack([it.token for it in iterations]) != NO_REQUEST
        marks: list[tuple[int, int, int, int, str]] = []
        texts: list[str] = []
        for iteration, pieces in batch:
            marks += _marks(iteration)
            if pieces:
                given = np.flatnonzero(iteration.token != NO_REQUEST)
                texts += [pieces.get(int(slot), "") for slot in given]
            else:
                texts += [""] * int(np.count_nonzero(iteration.token != NO_REQUEST))
        fresh = state == State.PREFILL
        again = state == State.RECOMPUTE
        scalars = drafted(
            (it.index, entry.slot, entry.drafts, len(entry.tokens)) for it in iterations for entry in it.drafted
        )
        scalars |= {
            "t0": np.array([it.t_start for it in iterations], dtype="<f8"),
            "t1": np.array([it.t_end for it in iterations], dtype="<f8"),
            "waiting": _column(it.waiting for it in iterations),
            "prefill": (tokens * fresh).sum(axis=1, dtype=np.int64).astype("<i4"),
            "recompute": (tokens * again).sum(axis=1, dtype=np.int64).astype("<i4"),
            "used": _column(it.blocks_used for it in iterations),
            "reserved": _column(it.blocks_reserved for it in iterations),
            "padded": _column(it.padded for it in iterations),
        }
        block = _iterations_block(
            self.lane,
            self.count,
            self.slots,
            request,
            state,
            tokens,
            gave,
            scalars,
            marks,
            texts,
            self._request,
            self._state,
        )
        if n:
            self._request, self._state = request[-1].copy(), state[-1].copy()
        self.count += n
        return block


def drafted(cells: Iterable[tuple[int, int, int, int]]) -> dict[str, Array]:
    """Arrays for cells that checked drafts: iteration, slot, checked, accepted. None where there are no such cells."""
    rows = np.array(list(cells), dtype="<i4").reshape(-1, 4)
    names = ("draft_iteration", "draft_slot", "draft_checked", "draft_accepted")
    return {name: rows[:, column].copy() for column, name in enumerate(names)} if len(rows) else {}


def _column(values: Iterable[int]) -> Array:
    return np.fromiter(values, dtype="<i4")


def _marks(it: Iteration) -> list[MarkRow]:
    happened = it.arrived, it.cancelled, it.preempted, it.admitted, it.stalled, it.finished, it.changed
    return rows_of(it.index, *happened)


def _iterations_block(
    lane: int,
    first: int,
    slots: int,
    request: Array,
    state: Array,
    tokens: Array,
    gave: Array,
    scalars: dict[str, Array],
    marks: Sequence[MarkRow],
    texts: Sequence[str],
    request_before: Array,
    state_before: Array,
) -> bytes:
    """`request`, `state`, `tokens`, `gave`: [iterations, slots]; the two `before` rows: [slots]."""
    earlier_request = np.concatenate([request_before[None], request[:-1]]) if len(request) else request
    earlier_state = np.concatenate([state_before[None], state[:-1]]) if len(state) else state
    takes_in = (state == State.PREFILL) | (state == State.RECOMPUTE)
    changed = (request != earlier_request) | (state != earlier_state) | takes_in
    at, slot = np.nonzero(changed)
    reasons: dict[tuple[type, str], int] = {}  # a message is not the same as text that happens to read like it
    why = [reasons.setdefault((type(reason), reason), len(reasons)) for *_, reason in marks]
    numbers = np.array([mark[:4] for mark in marks], dtype="<i4").reshape(len(marks), 4)
    header = {
        "kind": "iterations",
        "lane": lane,
        "first": first,
        "n": len(request),
        "slots": slots,
        "reasons": [as_json(reason) for _, reason in reasons],
        "pieces": list(texts) if any(texts) else None,
    }
    arrays = scalars | {
        "change_iteration": (at + first).astype("<i4"),
        "change_slot": slot.astype("<i4"),
        "change_request": request[at, slot].astype("<i4"),
        "change_state": state[at, slot].astype("u1"),
        "change_tokens": np.where(takes_in, tokens, 0)[at, slot].astype("<i4"),
        "gave": np.packbits(gave.reshape(-1)),
        "mark_kind": numbers[:, 0].astype("u1"),
        "mark_iteration": numbers[:, 1].copy(),
        "mark_request": numbers[:, 2].copy(),
        "mark_slot": numbers[:, 3].copy(),
        "mark_reason": np.array(why, dtype="<i4"),
    }
    return block(header, arrays)


def block(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Header and arrays as bytes, each part padded to 8 bytes."""
    named = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    listed = [[name, _code(array), int(array.size)] for name, array in named.items()]
    text = json.dumps({**header, "arrays": listed}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # UTF-8 cannot encode a lone surrogate: it becomes a question mark.
    head = text.encode("utf-8", errors="replace")
    head += b" " * (-len(head) % 8)
    parts = [head]
    for array in named.values():
        data = array.tobytes()
        parts.append(data + b"\0" * (-len(data) % 8))
    length = _HEAD.size + sum(len(part) for part in parts)
    return _HEAD.pack(MAGIC, length, len(head), 0) + b"".join(parts)


def _code(array: Array) -> str:
    for code, dtype in _DTYPES.items():
        if array.dtype == dtype:
            return code
    raise TraceError(f"arrays of a block are f8, i4 or u1, not {array.dtype}.")


def read(data: bytes) -> list[tuple[dict[str, Any], dict[str, Array]]]:
    """Blocks of a run as (header, arrays). Raises `TraceError` if the bytes are truncated or not a run."""
    blocks = []
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise TraceError("the run ends in the middle of a block.")
        magic, length, head, _ = _HEAD.unpack_from(data, at)
        if magic != MAGIC or length > len(data) - at or head > length - _HEAD.size:
            raise TraceError("these bytes are not a run of cbviz, or are truncated.")
        start = at + _HEAD.size
        header: dict[str, Any] = json.loads(data[start : start + head])
        arrays = {}
        start += head
        for name, code, size in header.pop("arrays"):
            arrays[name] = np.frombuffer(data, dtype=_DTYPES[code], count=size, offset=start)
            width = size * _DTYPES[code].itemsize
            start += width + (-width % 8)
        blocks.append((header, arrays))
        at += length
    return blocks


def merge(blocks: Sequence[bytes]) -> bytes:
    """Merge consecutive iteration blocks of one lane into one, which is smaller than many small ones."""
    parts = [part for data in blocks for part in read(data) if part[0]["n"]]
    if not parts:
        return b"".join(blocks[:1])
    reasons: dict[str, int] = {}  # as JSON, for a message is a list
    texts: list[str] = []
    columns: dict[str, list[Array]] = {name: [] for part in parts for name in part[1]}
    slots = parts[0][0]["slots"]
    for header, arrays in parts:
        codes = np.array([reasons.setdefault(json.dumps(r), len(reasons)) for r in header["reasons"]], dtype="<i4")
        bits = np.unpackbits(arrays["gave"], count=header["n"] * slots)
        texts += header["pieces"] or [""] * int(bits.sum())
        for name, array in arrays.items():
            if name == "mark_reason":
                columns[name].append(codes[array] if len(codes) else array)
            else:
                columns[name].append(bits if name == "gave" else array)
    joined = {name: np.concatenate(column) for name, column in columns.items()}
    joined["gave"] = np.packbits(joined["gave"])
    header = parts[0][0] | {
        "n": sum(part[0]["n"] for part in parts),
        "reasons": [json.loads(reason) for reason in reasons],
        "pieces": texts if any(texts) else None,
    }
    return block(header, joined)


def requests_block(lane: int | None, requests: Iterable[RequestText]) -> bytes:
    """A block of prompts; `lane` None means the same in every lane."""
    rows = [[r.id, r.prompt, r.prompt_tokens, r.max_new_tokens, r.arrival] for r in requests]
    return block({"kind": "requests", "lane": lane, "rows": rows}, {})


def meta_block(meta: Mapping[str, Any]) -> bytes:
    """A block of titles, lanes and the finish: JSON values only."""
    return block({"kind": "meta", "meta": dict(meta)}, {})


def trace_blocks(lane: int, trace: Trace) -> bytes:
    """A recorded run as the blocks that a live run would have sent: its requests, then its iterations.

    Raises TraceError for a run that is too large to draw.
    """
    table, spans, its, meta = trace.requests, trace.spans, trace.iterations, trace.meta
    check_size(meta.slots, len(its))
    seconds = meta.arrival_unit == "seconds"
    texts = [
        RequestText(
            int(table.id[row]),
            table.prompt[row],
            int(table.prompt_tokens[row]),
            int(table.max_new_tokens[row]),
            float(table.arrival[row]) if seconds else None,
        )
        for row in range(len(table))
    ]
    n, slots = len(its), meta.slots
    request = np.full((n, slots), NO_REQUEST, dtype=np.int32)
    state = np.zeros((n, slots), dtype=np.uint8)
    tokens = np.zeros((n, slots), dtype=np.int32)
    gave = np.zeros((n, slots), dtype=bool)
    rows = {int(request_id): row for row, request_id in enumerate(table.id)}
    given: list[tuple[int, int, str]] = []
    cells: list[tuple[int, int, int, int]] = []
    for slot, who, what, first, end, fed in zip(
        spans.slot, spans.request, spans.state, spans.first, spans.end, spans.tokens, strict=True
    ):
        request[first:end, slot] = who
        state[first:end, slot] = what
        tokens[first, slot] = fed
        row = rows[int(who)]
        times = table.token_iterations[row]
        low, high = np.searchsorted(times, [first, end])
        pieces = table.pieces[row]
        for index in range(int(low), int(high)):
            text = pieces[index] if index < len(pieces) else ""
            if gave[times[index], slot]:  # an accepted draft: its cell has the text of all
                text = given.pop()[2] + text
            gave[times[index], slot] = True
            given.append((times[index], int(slot), text))
        if what == State.DECODE and fed > end - first:
            cells.append((int(first), int(slot), int(fed) - 1, int(high - low) - 1))
    cells.sort()
    given.sort(key=lambda entry: entry[:2])
    marks = []
    for kind, iteration, who, slot, reason in zip(
        trace.marks.kind, trace.marks.iteration, trace.marks.request, trace.marks.slot, trace.marks.reason, strict=True
    ):
        if kind == FINISH:
            code = int(table.reason[rows[int(who)]])
            reason = FinishReason(code).name.lower() if code >= 0 else ""
        marks.append((int(kind), int(iteration), int(who), int(slot), reason))
    marks.sort(key=in_order)
    scalars = drafted(cells) | {
        "t0": its.t_start.astype("<f8"),
        "t1": its.t_end.astype("<f8"),
        "waiting": its.waiting.astype("<i4"),
        "prefill": its.prefill_tokens.astype("<i4"),
        "recompute": its.recompute_tokens.astype("<i4"),
        "used": its.blocks_used.astype("<i4"),
        "reserved": its.blocks_reserved.astype("<i4"),
        "padded": its.padded.astype("<i4"),
    }
    empty, idle = np.full(slots, NO_REQUEST, dtype=np.int32), np.zeros(slots, dtype=np.uint8)
    body = _iterations_block(
        lane, 0, slots, request, state, tokens, gave, scalars, marks, [text for *_, text in given], empty, idle
    )
    return requests_block(lane, texts) + body
