"""The tape of a run: every iteration as a row of arrays, a few copies each, whatever the number of requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import TraceError
from cbviz.events import Iteration, Mark
from cbviz.trace.fold import Chunk, Events, Marks, Row

CELLS_A_CHUNK = 2**17
"""Slot-iterations for which room is made at a time: about 2 MiB."""
COLUMN_TYPES = tuple(map(np.dtype, (np.int32, np.uint8, np.int32, np.int32, np.int32, np.int32)))


class Tape:
    """The iterations of a run with so many slots and KV blocks, in order."""

    def __init__(self, slots: int, total_blocks: int) -> None:
        self._slots = slots
        self._total_blocks = total_blocks
        self._rows_a_chunk = max(1, CELLS_A_CHUNK // slots)
        self._chunks: list[Chunk] = []
        self._rows: list[Row] = []
        self._seen: tuple[int, Marks] = (0, ())
        """What a look sees: how many iterations, and the requests cancelled after them. Replaced as one, so that a look
        from another thread never sees half of a change."""
        self._now = 0.0

    def __len__(self) -> int:
        """Iterations recorded so far."""
        return len(self._rows)

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
            run has. The tape stays as it was.
        """
        n = len(self._rows)
        if iteration.index != n:
            raise TraceError(f"iteration {n} comes next, not iteration {iteration.index!r}.")
        if not self._now <= iteration.t_start <= iteration.t_end < float("inf"):
            raise TraceError(
                f"the clock of iteration {n} runs from {iteration.t_start!r} to {iteration.t_end!r}; "
                f"it must go forward from {self._now!r} and be finite."
            )
        if iteration.blocks_total != self._total_blocks:
            raise TraceError(
                f"iteration {n} has a pool of {iteration.blocks_total!r} KV blocks; this run has {self._total_blocks}."
            )
        it = iteration
        columns: tuple[npt.NDArray[Any], ...] = (it.request, it.state, it.tokens, it.context, it.token, it.allotted)
        for column, dtype in zip(columns, COLUMN_TYPES, strict=True):
            if column.shape != (self._slots,) or column.dtype != dtype:
                raise TraceError(
                    f"an array of iteration {n} is {column.dtype} of shape {column.shape}; it must be {dtype} of shape "
                    f"{(self._slots,)}, one entry a slot."
                )
        place = n % self._rows_a_chunk
        if place == 0 and n // self._rows_a_chunk == len(self._chunks):
            self._chunks.append(Chunk(self._rows_a_chunk, self._slots))
        chunk = self._chunks[-1]
        chunk.request[place], chunk.state[place], chunk.tokens[place], chunk.context[place] = columns[:4]
        chunk.token[place], chunk.allotted[place] = columns[4:]
        self._rows.append((it.t_start, it.t_end, _counts(it), _events(it), it.reused, it.drafted))
        self._now = it.t_end
        self._seen = (len(self._rows), tuple(untold))


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
