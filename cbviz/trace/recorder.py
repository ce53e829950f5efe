"""Recording: every iteration is kept as a row of arrays; `fold` makes a trace of them at the end.

During a run, recording is a few copies an iteration, whatever the number of requests; all that costs more is done once,
in `Recorder.trace`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import shown
from cbviz.errors import TraceError
from cbviz.events import Iteration, Mark
from cbviz.limits import LONGEST_SECONDS, MOST_ID, MOST_TOKENS
from cbviz.trace.check import check, check_meta
from cbviz.trace.fold import Chunk, Detokenize, Events, Marks, Row, fold
from cbviz.trace.trace import Trace, TraceMeta
from cbviz.workload.request import Request

CELLS_A_CHUNK = 2**17
"""Slot-iterations for which room is made at a time: about 2 MiB."""
COLUMN_TYPES = tuple(map(np.dtype, (np.int32, np.uint8, np.int32, np.int32, np.int32, np.int32)))


class Recorder:
    """Folds the iterations of one run into a `Trace`. One thread records; any thread may ask for the trace meanwhile.

    Parameters
    ----------
    meta
        Where the run comes from.
    requests
        The requests of the run, in order of submission; `add_requests` adds those that come later.

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
        self._chunks: list[Chunk] = []
        self._rows: list[Row] = []
        self._seen: tuple[int, Marks] = (0, ())
        """What a look sees: how many iterations, and the requests cancelled after them. Replaced as one, so that a look
        from another thread never sees half of a change."""
        self._now = 0.0

    def __len__(self) -> int:
        """Iterations recorded so far."""
        return len(self._rows)

    def add_requests(self, requests: Iterable[Request]) -> None:
        """Add requests that came during the run: all of them, or none if one is refused.

        Parameters
        ----------
        requests
            With ids that the recorder does not have yet.

        Raises
        ------
        TraceError
            An id is known already, or no trace can hold a request's id, arrival or limit.
        """
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
            Requests that have been cancelled since, which a later iteration will report if there is one.

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
            self._chunks.append(Chunk(self._rows_a_chunk, self.meta.slots))
        chunk = self._chunks[-1]
        chunk.request[place], chunk.state[place], chunk.tokens[place], chunk.context[place] = columns[:4]
        chunk.token[place], chunk.allotted[place] = columns[4:]
        self._rows.append(
            (iteration.t_start, iteration.t_end, _counts(iteration), _events(iteration), iteration.reused)
        )
        self._now = iteration.t_end
        self._seen = (len(self._rows), tuple(untold))

    def add_cancelled(self, marks: Iterable[Mark]) -> None:
        """Record cancellations after the last iteration; the next one, if there is one, reports them itself.

        Parameters
        ----------
        marks
            The cancelled requests. Those that were recorded already change nothing.
        """
        iterations, untold = self._seen
        known = {mark.request for mark in untold}
        self._seen = (iterations, (*untold, *(mark for mark in marks if mark.request not in known)))

    def trace(self, pieces: Detokenize | None = None) -> Trace:
        """Everything recorded so far as a checked trace. Only reads: any thread may ask, as often as it likes.

        Parameters
        ----------
        pieces
            Turns the output tokens of one request into the text that each of them added (a list as long). None where
            the model has no tokenizer.

        Returns
        -------
        Trace
            Of the iterations so far.

        Raises
        ------
        TraceError
            What was recorded contradicts itself: an unknown request, a token for a request in no slot, and the like.
        """
        iterations, untold = self._seen
        rows = self._rows[:iterations]  # another thread may continue to record meanwhile
        trace = fold(self.meta, self._requests.values(), self._chunks, rows, untold, pieces)
        check(trace)
        return trace


def check_recordable(request: Request) -> None:
    """Raise TraceError for a request whose id, arrival or limit no trace can hold."""
    if request.id > MOST_ID:
        raise TraceError(f"request {shown(request.id)} cannot be recorded: ids must be below 2**31.")
    if request.arrival > LONGEST_SECONDS:
        raise TraceError(
            f"request {request.id} cannot be recorded: it arrives at {request.arrival:g}, and times go up to "
            f"{LONGEST_SECONDS:g}."
        )
    if request.max_new_tokens > MOST_TOKENS:
        raise TraceError(f"request {request.id} cannot be recorded: max_new_tokens must be below 2**31.")


def _events(it: Iteration) -> Events | None:
    """Arrived, cancelled, preempted, admitted, stalled, finished, changed; None if there is nothing of it."""
    events = (it.arrived, it.cancelled, it.preempted, it.admitted, it.stalled, it.finished, it.changed)
    return events if any(events) else None


def _counts(it: Iteration) -> tuple[int, ...]:
    """In the order of `COUNTS`."""
    asked = sum(entry.asked for entry in it.reused) if it.reused else 0
    found = sum(entry.found for entry in it.reused) if it.reused else 0
    blocks = (it.blocks_used, it.blocks_reserved, it.written)
    return (it.waiting, *blocks, asked, found, it.evicted, it.swapped_out, it.swapped_in, it.padded)
