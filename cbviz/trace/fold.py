"""From recorded iterations to the tables of a trace: done once, when the trace is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import TraceError
from cbviz.events import NO_REQUEST, Drafted, Finish, FinishReason, Mark, Reuse, State
from cbviz.trace.check import SLOT_COLUMNS
from cbviz.trace.fragmentation import unwritten
from cbviz.trace.marks import ADMIT, ARRIVE, CANCEL, FINISH, PREEMPT, SET, STALL, MarkRow, rows_of
from cbviz.trace.trace import (
    IntColumn,
    IterationTable,
    MarkTable,
    RequestTable,
    SpanTable,
    Trace,
    TraceMeta,
)
from cbviz.workload.request import Request

COUNTS = (
    "waiting",
    "blocks_used",
    "blocks_reserved",
    "written",
    "prefix_queries",
    "prefix_hits",
    "evictions",
    "swapped_out",
    "swapped_in",
    "padded",
)
"""What is counted once an iteration, in the order in which it is kept."""

Detokenize = Callable[[Sequence[int]], list[str]]
"""Turns the output tokens of one request into the text that each of them added, a list as long."""
Marks = tuple[Mark, ...]
Events = tuple[tuple[int, ...], Marks, Marks, Marks, Marks, tuple[Finish, ...], Marks]
Row = tuple[float, float, tuple[int, ...], Events | None, tuple[Reuse, ...], tuple[Drafted, ...]]
"""What is kept of an iteration beside its arrays: t_start, t_end, its counts, its marks if it has any, requests looked
up in the prefix cache, slots that checked drafts."""


def fold(
    meta: TraceMeta,
    requests: Iterable[Request],
    chunks: list[Chunk],
    rows: list[Row],
    untold: Marks,
    pieces: Detokenize | None,
) -> Trace:
    """The trace of what was recorded. Raises TraceError where it contradicts itself."""
    grid = Grid(chunks, [row[5] for row in rows])
    grid.check()
    marks = _mark_table(rows, untold, meta.slots)
    table = _request_table(requests, grid, marks, [entry for row in rows for entry in row[4]], pieces)
    return Trace(meta, table, _iteration_table(grid, rows, marks), _spans(grid, marks), marks)


class Chunk:
    """Room for some iterations: one row an iteration, one array a column of `Iteration`."""

    __slots__ = ("allotted", "context", "request", "state", "token", "tokens")

    def __init__(self, rows: int, slots: int) -> None:
        self.request = np.empty((rows, slots), np.int32)
        self.state = np.empty((rows, slots), np.uint8)
        self.tokens = np.empty((rows, slots), np.int32)
        self.context = np.empty((rows, slots), np.int32)
        self.token = np.empty((rows, slots), np.int32)
        self.allotted = np.empty((rows, slots), np.int32)


class Grid:
    """All iterations at once: arrays [iterations, slots]; and what drafts added, where there were any."""

    def __init__(self, chunks: list[Chunk], drafted: list[tuple[Drafted, ...]]) -> None:
        rows = len(drafted)
        self.drafted = {(i, entry.slot): entry for i, entries in enumerate(drafted) for entry in entries}
        self.added = np.array([sum(len(entry.tokens) for entry in entries) for entries in drafted], np.int64)

        def joined(name: str) -> npt.NDArray[np.signedinteger | np.unsignedinteger]:
            parts = [getattr(chunk, name) for chunk in chunks]
            return np.concatenate(parts)[:rows] if parts else np.empty((0, 0), np.int32)

        self.request = joined("request")
        self.state = joined("state")
        self.tokens = joined("tokens")
        self.context = joined("context")
        self.token = joined("token")
        self.allotted = joined("allotted")

    def check(self) -> None:
        """What spans can no longer show: empty slots are idle, tokens come only where one can come."""
        idle = self.state == State.IDLE
        gave = self.token != NO_REQUEST
        dumb = idle | (self.state == State.HELD) | (self.state == State.STALLED)
        for broken, complaint in (
            (self.state > max(State), "has an unknown state"),
            ((self.request == NO_REQUEST) != idle, "is idle with a request in it, or empty and not idle"),
            (gave & dumb, "gave a token though it was idle, held or stalled"),
            (self.token < NO_REQUEST, "gave a negative token"),
            ((self.tokens < 0) | (self.context < 0), "has a negative count of tokens"),
            (self.context > self.allotted, "has written more positions than it has blocks for"),
        ):
            if broken.any():
                iteration, slot = np.argwhere(broken)[0]
                raise TraceError(f"slot {slot} {complaint} in iteration {iteration}.")
        for (iteration, slot), entry in self.drafted.items():
            decoded = 0 <= slot < self.state.shape[1] and self.state[iteration, slot] == State.DECODE
            if not decoded or self.request[iteration, slot] != entry.request or len(entry.tokens) > entry.drafts:
                raise TraceError(f"slot {slot} has drafts that it cannot have checked in iteration {iteration}.")


def _iteration_table(grid: Grid, rows: list[Row], marks: MarkTable) -> IterationTable:
    state = grid.state
    slots = {name: np.count_nonzero(state == value, axis=1) for value, name in SLOT_COLUMNS.items()}
    times = np.array([row[:2] for row in rows], np.float64).reshape(len(rows), 2)
    counts = {name: _whole([row[2][column] for row in rows]) for column, name in enumerate(COUNTS)}
    over = marks.request[marks.kind == FINISH]
    goes_on = ~np.isin(grid.request[-1:].ravel(), over)
    stays = _stays(grid.request, marks)
    later, never = unwritten(grid.request, grid.state, grid.context, grid.allotted, stays, goes_on)
    return IterationTable(
        t_start=_frozen(times[:, 0].copy()),
        t_end=_frozen(times[:, 1].copy()),
        **{name: _frozen(count) for name, count in slots.items()},
        idle_slots=_frozen(np.count_nonzero(state == State.IDLE, axis=1)),
        prefill_tokens=_frozen(np.where(state == State.PREFILL, grid.tokens, 0).sum(axis=1)),
        recompute_tokens=_frozen(np.where(state == State.RECOMPUTE, grid.tokens, 0).sum(axis=1)),
        generated=_frozen(np.count_nonzero(grid.token != NO_REQUEST, axis=1) + grid.added),
        kv_used=counts.pop("written"),
        kv_reserved=_frozen(later),
        kv_internal=_frozen(never),
        **counts,
    )


def _mark_table(iterations: list[Row], untold: Marks, slots: int) -> MarkTable:
    """All marks in the order of `cbviz.trace.marks`; a stall only where it begins."""
    rows: list[MarkRow] = []
    stalls: dict[int, tuple[int, str]] = {}
    for i, (_, _, _, events, *_) in enumerate(iterations):
        if events is None:
            continue
        for row in rows_of(i, *events):
            kind, _, request, _, reason = row
            if kind == STALL:
                continues = stalls.get(request) == (i - 1, reason)
                stalls[request] = (i, reason)
                if continues:
                    continue
            rows.append(row)
    rows += [(CANCEL, len(iterations), mark.request, mark.slot, mark.reason) for mark in untold]
    if any(not NO_REQUEST <= slot < slots + (kind == SET) for kind, _, _, slot, _ in rows):
        raise TraceError(f"a mark names a slot that is not one of the {slots} of this run.")
    return MarkTable(
        kind=_whole([kind for kind, _, _, _, _ in rows]),
        iteration=_whole([iteration for _, iteration, _, _, _ in rows]),
        request=_whole([request for _, _, request, _, _ in rows]),
        slot=_whole([slot for _, _, _, slot, _ in rows]),
        reason=tuple(reason for _, _, _, _, reason in rows),
    )


def _request_table(
    requests: Iterable[Request], grid: Grid, marks: MarkTable, reused: list[Reuse], pieces: Detokenize | None
) -> RequestTable:
    asked = list(requests)
    n = len(asked)
    columns = {name: np.full(n, -1, np.int64) for name in ("arrived", "admitted", "finished", "reason", "slot")}
    columns["preemptions"] = np.zeros(n, np.int64)
    columns["cached_tokens"] = np.zeros(n, np.int64)
    ids = _whole([request.id for request in asked])
    names = {reason.name.lower(): int(reason) for reason in FinishReason}
    row_of = {request.id: row for row, request in enumerate(asked)}
    for mark_kind, i, request, slot, reason in zip(
        marks.kind.tolist(),
        marks.iteration.tolist(),
        marks.request.tolist(),
        marks.slot.tolist(),
        marks.reason,
        strict=True,
    ):
        if mark_kind == SET:
            continue
        if request not in row_of:
            raise TraceError(f"iteration {i} names request {request}, which was never submitted.")
        row = row_of[request]
        if mark_kind == ARRIVE:
            columns["arrived"][row] = i
        elif mark_kind == ADMIT:
            columns["admitted"][row] = i if columns["admitted"][row] < 0 else columns["admitted"][row]
            columns["slot"][row] = slot
        elif mark_kind == PREEMPT:
            columns["preemptions"][row] += 1
        elif mark_kind in (FINISH, CANCEL):
            columns["finished"][row] = i
            columns["reason"][row] = names[reason] if mark_kind == FINISH else FinishReason.CANCELLED
    for entry in reused:
        if entry.request not in row_of:
            raise TraceError(f"request {entry.request} was looked up in the prefix cache and never submitted.")
        columns["cached_tokens"][row_of[entry.request]] += entry.found
    tokens, token_iterations = _outputs(grid, ids, row_of)
    return RequestTable(
        id=ids,
        arrival=_frozen(np.array([request.arrival for request in asked], np.float64)),
        prompt_tokens=_whole([len(request.prompt) for request in asked]),
        max_new_tokens=_whole([request.max_new_tokens for request in asked]),
        **{name: _frozen(column) for name, column in columns.items()},
        prompt=tuple(request.text for request in asked),
        tokens=tokens,
        pieces=tuple(_pieces_of(output, pieces) for output in tokens),
        token_iterations=token_iterations,
        client=tuple(request.client or "" for request in asked),
        priority=_whole([request.priority for request in asked]),
    )


def _stays(request: npt.NDArray[np.integer], marks: MarkTable) -> npt.NDArray[np.bool_]:
    """bool [slots, iterations]: where a request begins its stay in a slot."""
    rows, slots = request.shape
    begins = np.ones((slots, rows), bool)
    begins[:, 1:] = request.T[:, 1:] != request.T[:, :-1]
    admitted = marks.kind == ADMIT
    begins[marks.slot[admitted], marks.iteration[admitted]] = True
    return begins


def _spans(grid: Grid, marks: MarkTable) -> SpanTable:
    """Runs of equal (request, state) along each slot; an admission begins a new one, and drafts have their own."""
    rows, slots = grid.request.shape
    if not rows:
        none = _whole(())
        return SpanTable(none, none, none, none, none, none, none)
    request, state = grid.request.T, grid.state.T  # [slots, iterations]: spans lie along the rows
    begins = _stays(grid.request, marks)
    begins[:, 1:] |= state[:, 1:] != state[:, :-1]
    for iteration, slot in grid.drafted:
        begins[slot, iteration : iteration + 2] = True
    starts = np.flatnonzero(begins.ravel())
    stops = np.append(starts[1:], slots * rows)
    # Totals of a span are differences of running totals.
    running = np.concatenate([[0], np.cumsum(grid.tokens.T.ravel(), dtype=np.int64)])
    state_of = state.ravel()[starts].astype(np.int64)
    busy = state_of != State.IDLE
    starts, stops, state_of = starts[busy], stops[busy], state_of[busy]
    first = starts % rows
    return SpanTable(
        slot=_frozen(starts // rows),
        request=_frozen(request.ravel()[starts].astype(np.int64)),
        state=_frozen(state_of),
        first=_frozen(first),
        end=_frozen(first + stops - starts),
        tokens=_frozen(running[stops] - running[starts]),
        context=_frozen(grid.context.T.ravel()[stops - 1].astype(np.int64)),
    )


def _outputs(
    grid: Grid, ids: IntColumn, row_of: dict[int, int]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Output tokens of each request, and the iterations that gave them, in the order of `ids`."""
    iteration, slot = np.nonzero(grid.token != NO_REQUEST)
    request, token = grid.request[iteration, slot], grid.token[iteration, slot]
    order = np.argsort(request, kind="stable")  # stable: iterations stay in order within a request
    request, iteration, token = request[order], iteration[order], token[order]
    whose, begin, count = np.unique(request, return_index=True, return_counts=True)
    tokens: list[tuple[int, ...]] = [()] * len(ids)
    iterations = list(tokens)
    for owner, start, stop in zip(whose.tolist(), begin.tolist(), (begin + count).tolist(), strict=True):
        if owner not in row_of:
            raise TraceError(f"iteration {iteration[start]} names request {owner}, which was never submitted.")
        tokens[row_of[owner]] = tuple(token[start:stop].tolist())
        iterations[row_of[owner]] = tuple(iteration[start:stop].tolist())
    more: defaultdict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for (at, _), entry in grid.drafted.items():
        if entry.tokens:
            more[row_of[entry.request]][at] = entry.tokens
    for row, added in more.items():
        pairs = [
            (at, value)
            for at, first in zip(iterations[row], tokens[row], strict=True)
            for value in (first, *added.get(at, ()))
        ]
        iterations[row], tokens[row] = tuple(at for at, _ in pairs), tuple(value for _, value in pairs)
    return tuple(tokens), tuple(iterations)


def _pieces_of(tokens: tuple[int, ...], pieces: Detokenize | None) -> tuple[str, ...]:
    if pieces is None or not tokens:
        return ()
    texts = tuple(pieces(tokens))
    if len(texts) != len(tokens):
        raise TraceError(f"pieces gave {len(texts)} texts for {len(tokens)} output tokens; it must give one for each.")
    return texts


def _whole(values: Iterable[int]) -> IntColumn:
    """A read-only int64 column. Raises TraceError where something is no whole number."""
    array = np.array(list(values))
    if array.size and array.dtype.kind not in "iu":
        raise TraceError("an iteration counts in something that is no whole number.")
    return _frozen(array.astype(np.int64))


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array made read-only."""
    array = array.astype(np.int64) if array.dtype.kind in "iu" and array.dtype != np.int64 else array
    array.flags.writeable = False
    return array
