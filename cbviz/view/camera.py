"""The board's directed camera, for pictures that move: what is in sight, and how fast a run is shown.

It opens near enough to see one slot change hands, slows where one first does, then accelerates and pulls back to the
whole. `js/director.js` does the same on a page; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cbviz.events import State
from cbviz.trace.trace import MARK_KINDS, Trace
from cbviz.view.look import dense

OPEN = 60
"""Iterations in sight at the opening."""
TAKES = 20
"""Seconds from the first iteration to the finish of a long run."""
HISTORY = 5
"""Seconds of history that stay in sight when it goes fast."""
SLOW, BEFORE, AFTER = 1.2, 1, 2
"""Iterations a second while the first refill is shown, and the iterations before and after it for which this lasts."""
CALM = (2.0, 6.0)
"""Iterations a second of a calm pace, at least and at most."""
CAPTION = 7
"""Iterations after a refill for which it has a caption."""
FOLLOWS, WHOLE = 0.72, 1 / 1.015
"""Where the cursor is, as a share of the width: while the view follows it, and when the whole run is in sight."""
GLIDE = 0.22
"""Seconds in which the view covers two thirds of the way to where it should be."""
TICKS = 60
"""Movements of the camera a second."""


@dataclass(frozen=True, slots=True)
class Refill:
    """The first slot of a lane that changes hands while another request runs on."""

    lane: int
    at: int
    slot: int
    request: int


@dataclass(frozen=True, slots=True)
class Shot:
    """What one frame shows: `columns` iterations from `first` on, as far as `at`, and what has just happened."""

    at: float
    first: float
    columns: float
    refill: Refill | None


def script(n: int, refill: int) -> Callable[[float], float]:
    """How fast a run of `n` iterations is shown.

    Parameters
    ----------
    n
        Iterations of the longest lane.
    refill
        The iteration of the first refill; -1 if there is none.

    Returns
    -------
    Callable
        Iteration → iterations a second there. All of it takes about `TAKES` seconds; a short run takes less.
    """
    start = 0 if refill < 0 else min(n, refill + AFTER)
    opening = 0 if refill < 0 else max(0, refill - BEFORE)
    open_ = max(CALM[0], opening / 4)
    left = max(TAKES * 0.4, TAKES - opening / open_ - (start - opening) / SLOW)
    rest = max(0, n - start)
    calm = max(CALM[0], min(CALM[1], rest / left))
    low, high = 1e-6, 8.0
    for _ in range(50):  # the time that the rest takes, ln(1 + growth · rest / calm) / growth, falls as growth rises
        growth = (low + high) / 2
        if math.log1p(growth * rest / calm) / growth > left:
            low = growth
        else:
            high = growth
    growth = high if rest / calm > left else 0.0

    def pace(c: float) -> float:
        return open_ if c < opening else SLOW if c < start else calm + growth * (c - start)

    return pace


def first_refill(traces: Sequence[Trace]) -> Refill | None:
    """The first refill of any lane; None if no slot changes hands within a batch."""
    found = [refill for lane, trace in enumerate(traces) if (refill := _refill(lane, trace))]
    return min(found, key=lambda refill: refill.at, default=None)


def _refill(lane: int, trace: Trace) -> Refill | None:
    marks, table = trace.marks, trace.requests
    state, request = dense(trace)
    admitted = dict(zip(table.id.tolist(), table.admitted.tolist(), strict=True))
    rows = zip(marks.kind.tolist(), marks.iteration.tolist(), marks.request.tolist(), marks.slot.tolist(), strict=True)
    for kind, at, who, slot in rows:
        if MARK_KINDS[kind] != "admit" or slot < 0 or not (np.isin(request[slot, :at], (-1, who), invert=True)).any():
            continue
        others = [
            int(other)
            for row, other in enumerate(request[:, at])
            if row != slot and other >= 0 and state[row, at] != State.HELD
        ]
        if any(0 <= admitted[other] < at for other in others):
            return Refill(lane, at, slot, who)
    return None


def shots(traces: Sequence[Trace]) -> Iterator[Shot]:
    """What the camera shows, `TICKS` times a second, from the first iteration until it rests on the whole.

    Parameters
    ----------
    traces
        The lanes.

    Yields
    ------
    Shot
        The last one shows the whole run.
    """
    n = max(1, *(len(trace.iterations) for trace in traces))
    refill = first_refill(traces)
    pace = script(n, refill.at if refill else -1)
    whole, at = n / WHOLE, 0.0
    columns, share = min(whole, float(OPEN)), FOLLOWS
    part = 1 - math.exp(-1 / TICKS / GLIDE)
    while True:
        if at < n:
            wanted = min(whole, max(OPEN, HISTORY * pace(at)))
            out = max(0.0, wanted - OPEN) / (whole - OPEN) if whole > OPEN else 1.0
            aim = FOLLOWS + (WHOLE - FOLLOWS) * out
        else:
            wanted, aim = whole, WHOLE
        columns *= (wanted / columns) ** part
        share += (aim - share) * part
        rests = at >= n and abs(math.log(whole / columns)) < 0.004 and abs(WHOLE - share) < 0.004
        if rests:
            yield Shot(n, 0.0, whole, None)
            return
        just = refill if refill and 0 <= at - refill.at < CAPTION and at < n else None
        yield Shot(at, max(0.0, at - share * columns), columns, just)
        at = min(float(n), at + pace(at) / TICKS)
