"""What a cell of the grid is: its state and request, its two colours, and the words for it.

The live board draws the same (`js/states.js`, `js/brushes.js`); a test compares the words.
"""

from __future__ import annotations

import re

import numpy as np

from cbviz.events import State
from cbviz.trace.check import check_size
from cbviz.trace.trace import Trace
from cbviz.view.colours import Theme, ink_on, stalled_ground, stalled_ink

WASTED = 6
"""Drawn instead of `State.IDLE` for a slot that is idle while a request waits."""

CLOSED = 7
"""Drawn for an idle slot that is closed (`Trace.open_slots`): nothing at all."""

STATE_WORDS = ("idle", "prefill", "decode", "recompute", "held", "stalled", "wasted_idle", "closed")
"""`board.` lines of the catalogue: by `State`, then `WASTED` and `CLOSED`."""


_LABEL = re.compile(r"[A-Z]{1,2}[0-9]{0,4}")
"""A prompt that is a label: the toys of a course call their requests S1, S2, …"""


def labels(trace: Trace) -> dict[int, str]:
    """What each request is called in a picture: its own label if its prompt is one, or else its id."""
    table = trace.requests
    return {
        int(request): prompt if _LABEL.fullmatch(prompt) else str(request)
        for request, prompt in zip(table.id, table.prompt, strict=True)
    }


def ground_and_ink(state: int, colour: str, theme: Theme) -> tuple[str, str]:
    """What a cell is filled with, and what its texture is drawn with; `colour` is its request's."""
    if state == State.IDLE:
        return theme.spare
    if state == State.HELD:
        return theme.held
    if state == WASTED:
        return theme.wasted
    if state == State.STALLED:
        return stalled_ground(colour, theme), stalled_ink(colour, theme)
    return colour, ink_on(colour)


def dense(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """State and request of every cell, each [slots, iterations]; -1 for no request.

    Idle cells are `WASTED` if a request waited and `CLOSED` if the slot was closed. Raises TraceError for a run that is
    too large to draw.
    """
    n, slots = len(trace.iterations), trace.meta.slots
    check_size(slots, n)
    idle = np.where(trace.iterations.waiting > 0, WASTED, State.IDLE).astype(np.uint8)
    state = np.repeat(idle[None], slots, axis=0)
    request = np.full((slots, n), -1, dtype=np.int32)
    spans = trace.spans
    for slot, who, what, first, end in zip(spans.slot, spans.request, spans.state, spans.first, spans.end, strict=True):
        state[slot, first:end] = what
        request[slot, first:end] = who
    closed = trace.closed_slots
    if closed.any():
        empty = request < 0
        rank = np.cumsum(empty, axis=0)  # 1 for the lowest empty slot of an iteration
        state[empty & (rank > (empty.sum(axis=0) - closed)[None])] = CLOSED
    return state, request


def bars(trace: Trace) -> list[tuple[int, int, int, int, int]]:
    """Slot, request, state, first iteration and the one after the last, of every span as it is drawn.

    Where drafts cut the decode of a request into spans of an iteration, it is one bar all the same.
    """
    spans = trace.spans
    rows = zip(
        *(column.tolist() for column in (spans.slot, spans.request, spans.state, spans.first, spans.end)), strict=True
    )
    found: list[tuple[int, int, int, int, int]] = []
    fed = (spans.tokens - (spans.end - spans.first)).tolist()
    drafted = False
    for (slot, who, what, first, end), more in zip(rows, fed, strict=True):
        cut = what == State.DECODE and (drafted or more > 0)
        drafted = what == State.DECODE and more > 0
        if cut and found and found[-1][:3] == (slot, who, what) and found[-1][4] == first:
            found[-1] = (slot, who, what, found[-1][3], end)
        else:
            found.append((slot, who, what, first, end))
    return found


def rejected(trace: Trace) -> list[tuple[int, int, float]]:
    """Slot, iteration, and the share of the cell's work that was rejected, of every cell with rejected drafts."""
    spans = trace.spans
    cells = []
    for at in np.flatnonzero((spans.state == State.DECODE) & (spans.tokens > spans.end - spans.first)).tolist():
        fed, first = int(spans.tokens[at]), int(spans.first[at])
        times = trace.requests.token_iterations[trace.requests.row(int(spans.request[at]))]
        given = int(np.searchsorted(times, first, side="right") - np.searchsorted(times, first))
        if given < fed:
            cells.append((int(spans.slot[at]), first, (fed - given) / fed))
    return cells
