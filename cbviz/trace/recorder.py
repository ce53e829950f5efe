"""From events to a trace: keep every iteration as a row of arrays, fold the rows into spans at the end.

While a run goes on, recording is a few copies an iteration, whatever the number of requests; all that costs more is
done once, in `Recorder.trace`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import TraceError
from cbviz.limits import LONGEST_SECONDS, MOST_ID, MOST_TOKENS, clipped
from cbviz.trace.allotment import unwritten
from cbviz.trace.check import SLOT_COLUMNS, check, check_meta
from cbviz.trace.events import NOBODY, Finish, FinishReason, Iteration, Mark, Reuse, State
from cbviz.trace.trace import (
    MARK_KINDS,
    IntColumn,
    IterationTable,
    MarkTable,
    RequestTable,
    SpanTable,
    Trace,
    TraceMeta,
)
from cbviz.workload.request import Request

CELLS_A_CHUNK = 2**17
"""Slot-iterations for which room is made at a time: about 2 MiB."""
COLUMN_TYPES = tuple(map(np.dtype, (np.int32, np.uint8, np.int32, np.int32, np.int32, np.int32)))
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
ARRIVE, ADMIT, FINISH, PREEMPT, STALL, CANCEL, SET = range(len(MARK_KINDS))

Pieces = Callable[[Sequence[int]], list[str]]
_Marks = tuple[Mark, ...]
_Events = tuple[tuple[int, ...], _Marks, _Marks, _Marks, _Marks, tuple[Finish, ...], _Marks]
_Row = tuple[float, float, tuple[int, ...], _Events | None, tuple[Reuse, ...]]
"""What is kept of an iteration beside its arrays: t_start, t_end, its counts, its marks if it has any, who was looked
up in the prefix cache."""


class Recorder:
    """Folds the iterations of one run into a `Trace`. One thread records; any thread may ask for the trace meanwhile.

    Parameters
    ----------
    meta
        Where the run comes from.
    requests
        Who is in the run, in order of submission; `add_requests` adds those that come later.

    Raises
    ------
    TraceError
        Metadata that make no sense, or two requests with the same id.
    """

    def __init__(self, meta: TraceMeta, requests: Iterable[Request] = ()) -> None:
        check_meta(meta)
        self.meta = meta
        self._requests: dict[int, Request] = {}
        self.add_requests(requests)
        self._shape = (meta.slots,)
        self._rows_a_chunk = max(1, CELLS_A_CHUNK // meta.slots)
        self._chunks: list[_Chunk] = []
        self._rows: list[_Row] = []
        self._seen: tuple[int, _Marks] = (0, ())
        """What a look sees: how many iterations, and who was cancelled after them. Replaced as one, so that a look from
        another thread never sees half of a change."""
        self._now = 0.0

    def __len__(self) -> int:
        """Iterations recorded so far."""
        return len(self._rows)

    def add_requests(self, requests: Iterable[Request]) -> None:
        """Add requests that came during the run: all of them, or none if an id is known already (TraceError)."""
        fresh: dict[int, Request] = {}
        for request in requests:
            if request.id in self._requests or request.id in fresh:
                raise TraceError(f"request {request.id} is recorded twice; ids must be unique in a run.")
            check_recordable(request)
            fresh[request.id] = request
        self._requests.update(fresh)

    def add(self, iteration: Iteration, untold: Iterable[Mark] = ()) -> None:
        """Record one iteration. Its arrays are copied, so the engine may use them again.

        Parameters
        ----------
        iteration
            What happened.
        untold
            Requests that have been cancelled since, of which a later iteration will tell if there is one.

        Raises
        ------
        TraceError
            Not the next index, a clock that goes back or is not finite, another number of slots or KV blocks than the
            metadata say. The recorder stays as it was.
        """
        n = len(self._rows)
        if iteration.index != n:
            raise TraceError(f"iteration {n} comes next, not iteration {iteration.index!r}.")
        if not self._now <= iteration.t_start <= iteration.t_end < float("inf"):
            raise TraceError(
                f"the clock of iteration {n} runs from {iteration.t_start!r} to {iteration.t_end!r}; "
                f"it must go forward from {self._now!r} and be finite."
            )
        if iteration.blocks_total != self.meta.total_blocks:
            raise TraceError(
                f"iteration {n} has a pool of {iteration.blocks_total!r} KV blocks; "
                f"this run has {self.meta.total_blocks}."
            )
        columns: tuple[npt.NDArray[Any], ...] = (
            iteration.request,
            iteration.state,
            iteration.tokens,
            iteration.context,
            iteration.token,
            iteration.allotted,
        )
        for column, dtype in zip(columns, COLUMN_TYPES, strict=True):
            if column.shape != self._shape or column.dtype != dtype:
                raise TraceError(
                    f"an array of iteration {n} is {column.dtype} of shape {column.shape}; it must be {dtype} of shape "
                    f"{self._shape}, one entry a slot."
                )
        place = n % self._rows_a_chunk
        if place == 0 and n // self._rows_a_chunk == len(self._chunks):
            self._chunks.append(_Chunk(self._rows_a_chunk, self.meta.slots))
        self._chunks[-1].write(place, columns)
        self._rows.append(
            (iteration.t_start, iteration.t_end, _counts(iteration), _events(iteration), iteration.reused)
        )
        self._now = iteration.t_end
        self._seen = (len(self._rows), tuple(untold))

    def add_cancelled(self, marks: Iterable[Mark]) -> None:
        """Requests were cancelled after the last iteration; the next one, if there is one, tells of it itself.

        Saying it again changes nothing.
        """
        iterations, untold = self._seen
        known = {mark.request for mark in untold}
        self._seen = (iterations, (*untold, *(mark for mark in marks if mark.request not in known)))

    def trace(self, pieces: Pieces | None = None) -> Trace:
        """Everything recorded so far as a checked trace. Only reads: any thread may ask, as often as it likes.

        Parameters
        ----------
        pieces
            Turns the output tokens of one request into the text that each of them added (a list as long). None where
            the model has no tokenizer.

        Raises
        ------
        TraceError
            What was recorded contradicts itself: an unknown request, a token for somebody in no slot, and the like.
        """
        iterations, untold = self._seen
        rows = self._rows[:iterations]  # another thread may go on recording meanwhile
        grid = _Grid(self._chunks, len(rows))
        grid.check()
        marks = self._marks(rows, untold)
        requests = self._request_table(grid, marks, [entry for row in rows for entry in row[4]], pieces)
        trace = Trace(self.meta, requests, self._iteration_table(grid, rows, marks), _fold(grid, marks), marks)
        check(trace)
        return trace

    def _iteration_table(self, grid: _Grid, rows: list[_Row], marks: MarkTable) -> IterationTable:
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
            generated=_frozen(np.count_nonzero(grid.token != NOBODY, axis=1)),
            kv_used=counts.pop("written"),
            kv_reserved=_frozen(later),
            kv_internal=_frozen(never),
            **counts,
        )

    def _marks(self, iterations: list[_Row], untold: _Marks) -> MarkTable:
        """All marks in the order: set, arrive, cancel, preempt, admit, stall, finish; a stall only where it begins."""
        rows: list[tuple[int, int, int, int, str]] = []
        stalls: dict[int, tuple[int, str]] = {}
        for i, (_, _, _, events, _) in enumerate(iterations):
            if events is None:
                continue
            arrived, cancelled, preempted, admitted, stalled, finished, changed = events
            rows += [(SET, i, NOBODY, mark.slot, mark.reason) for mark in changed]
            rows += [(ARRIVE, i, request, NOBODY, "") for request in arrived]
            for kind, marks in ((CANCEL, cancelled), (PREEMPT, preempted), (ADMIT, admitted)):
                rows += [(kind, i, mark.request, mark.slot, mark.reason) for mark in marks]
            for mark in stalled:
                if stalls.get(mark.request) != (i - 1, mark.reason):
                    rows.append((STALL, i, mark.request, mark.slot, mark.reason))
                stalls[mark.request] = (i, mark.reason)
            rows += [(FINISH, i, end.request, end.slot, FinishReason(end.reason).name.lower()) for end in finished]
        rows += [(CANCEL, len(iterations), mark.request, mark.slot, mark.reason) for mark in untold]
        if any(not NOBODY <= slot < self.meta.slots + (kind == SET) for kind, _, _, slot, _ in rows):
            raise TraceError(f"a mark names a slot that is not one of the {self.meta.slots} of this run.")
        return MarkTable(
            kind=_whole([kind for kind, _, _, _, _ in rows]),
            iteration=_whole([iteration for _, iteration, _, _, _ in rows]),
            request=_whole([request for _, _, request, _, _ in rows]),
            slot=_whole([slot for _, _, _, slot, _ in rows]),
            reason=tuple(reason for _, _, _, _, reason in rows),
        )

    def _request_table(self, grid: _Grid, marks: MarkTable, reused: list[Reuse], pieces: Pieces | None) -> RequestTable:
        asked = list(self._requests.values())
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
        )


def check_recordable(request: Request) -> None:
    """Raise TraceError for a request whose id, arrival or limit no trace can hold."""
    if request.id > MOST_ID:
        raise TraceError(f"request {clipped(request.id)} cannot be recorded: ids must be below 2**31.")
    if request.arrival > LONGEST_SECONDS:
        raise TraceError(
            f"request {request.id} cannot be recorded: it arrives at {request.arrival:g}, and times go up to "
            f"{LONGEST_SECONDS:g}."
        )
    if request.max_new_tokens > MOST_TOKENS:
        raise TraceError(f"request {request.id} cannot be recorded: max_new_tokens must be below 2**31.")


def _events(it: Iteration) -> _Events | None:
    """Arrived, cancelled, preempted, admitted, stalled, finished, changed; None if there is nothing of it."""
    events = (it.arrived, it.cancelled, it.preempted, it.admitted, it.stalled, it.finished, it.changed)
    return events if any(events) else None


def _counts(it: Iteration) -> tuple[int, ...]:
    """In the order of `COUNTS`."""
    asked = sum(entry.asked for entry in it.reused) if it.reused else 0
    found = sum(entry.found for entry in it.reused) if it.reused else 0
    blocks = (it.blocks_used, it.blocks_reserved, it.written)
    return (it.waiting, *blocks, asked, found, it.evicted, it.swapped_out, it.swapped_in, it.padded)


class _Chunk:
    """Room for some iterations: one row an iteration, one array a column of `Iteration`."""

    __slots__ = ("allotted", "context", "request", "state", "token", "tokens")

    def __init__(self, rows: int, slots: int) -> None:
        self.request = np.empty((rows, slots), np.int32)
        self.state = np.empty((rows, slots), np.uint8)
        self.tokens = np.empty((rows, slots), np.int32)
        self.context = np.empty((rows, slots), np.int32)
        self.token = np.empty((rows, slots), np.int32)
        self.allotted = np.empty((rows, slots), np.int32)

    def write(self, row: int, columns: tuple[npt.NDArray[np.integer], ...]) -> None:
        self.request[row], self.state[row], self.tokens[row], self.context[row] = columns[:4]
        self.token[row], self.allotted[row] = columns[4:]


class _Grid:
    """All iterations at once: arrays [iterations, slots]."""

    def __init__(self, chunks: list[_Chunk], rows: int) -> None:
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
        gave = self.token != NOBODY
        dumb = idle | (self.state == State.HELD) | (self.state == State.STALLED)
        for broken, complaint in (
            (self.state > max(State), "has an unknown state"),
            ((self.request == NOBODY) != idle, "is idle with a request in it, or empty and not idle"),
            (gave & dumb, "gave a token though it was idle, held or stalled"),
            (self.token < NOBODY, "gave a negative token"),
            ((self.tokens < 0) | (self.context < 0), "has a negative count of tokens"),
            (self.context > self.allotted, "has written more positions than it has blocks for"),
        ):
            if broken.any():
                iteration, slot = np.argwhere(broken)[0]
                raise TraceError(f"slot {slot} {complaint} in iteration {iteration}.")


def _stays(request: npt.NDArray[np.integer], marks: MarkTable) -> npt.NDArray[np.bool_]:
    """bool [slots, iterations]: where somebody else, or the same one anew, sits down in a slot."""
    rows, slots = request.shape
    begins = np.ones((slots, rows), bool)
    begins[:, 1:] = request.T[:, 1:] != request.T[:, :-1]
    admitted = marks.kind == ADMIT
    begins[marks.slot[admitted], marks.iteration[admitted]] = True
    return begins


def _fold(grid: _Grid, marks: MarkTable) -> SpanTable:
    """Runs of equal (request, state) along each slot; an admission begins a new one."""
    rows, slots = grid.request.shape
    if not rows:
        none = _whole(())
        return SpanTable(none, none, none, none, none, none, none)
    request, state = grid.request.T, grid.state.T  # [slots, iterations]: spans lie along the rows
    begins = _stays(grid.request, marks)
    begins[:, 1:] |= state[:, 1:] != state[:, :-1]
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
    grid: _Grid, ids: IntColumn, row_of: dict[int, int]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Output tokens of each request, and the iterations that gave them, in the order of `ids`."""
    iteration, slot = np.nonzero(grid.token != NOBODY)
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
    return tuple(tokens), tuple(iterations)


def _pieces_of(tokens: tuple[int, ...], pieces: Pieces | None) -> tuple[str, ...]:
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
    """The array made read-only: nobody rewrites what happened."""
    array = array.astype(np.int64) if array.dtype.kind in "iu" and array.dtype != np.int64 else array
    array.flags.writeable = False
    return array
