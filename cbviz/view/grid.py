"""The geometry that pictures of the grid share, whatever draws them: rows, gaps, labels, ends, and crowded runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.limits import MOST_PICTURE_ROWS
from cbviz.trace.trace import Trace
from cbviz.view.colours import PALETTE, Theme, rgb, stalled_ground
from cbviz.view.look import CLOSED, WASTED, bars, dense, ground_and_ink

MOST_SPANS = 2500
"""A lane with more spans than this is drawn as columns."""
NARROW = 6
"""A lane whose spans are narrower than this on average, in px, is drawn as columns too."""
_STACK = (State.DECODE, State.PREFILL, State.IDLE, State.RECOMPUTE, State.STALLED, State.HELD, WASTED, CLOSED)
"""From the top of a column to its bottom, as on the board: useful, spare, waste."""


def drawable(traces: Sequence[Trace]) -> bool:
    """Whether all slots fit in a picture."""
    return sum(trace.meta.slots for trace in traces) <= MOST_PICTURE_ROWS


def check_rows(traces: Sequence[Trace]) -> None:
    """Raise CbvizError if the runs have more slots than a picture can have rows."""
    if not drawable(traces):
        rows = sum(trace.meta.slots for trace in traces)
        raise CbvizError(f"a picture has at most {MOST_PICTURE_ROWS:,} rows of slots, and these runs have {rows:,}.")


def crowded(trace: Trace, scale: float) -> bool:
    """Whether spans would hide one another: too many, or narrower than six px on average."""
    spans = len(bars(trace)) if trace.drafts.any() else len(trace.spans)
    return spans > MOST_SPANS or len(trace.iterations) * scale * trace.meta.slots < NARROW * spans


def row_pitch(slots: int, lanes: int) -> float:
    """Height of a slot's row in px, including the gap."""
    room = (420 if lanes <= 2 else 260) / slots
    return float(max(2, min(24, int(room))))


def row_gap(pitch: float) -> int:
    """Px between two rows of that pitch."""
    return 3 if pitch >= 18 else 2 if pitch >= 10 else 1 if pitch >= 5 else 0


def numbered_every(pitch: float) -> int:
    """Every how many slots a row has its number beside it, so that numbers keep 13 px apart."""
    return next(step for step in (1, 2, 4, 8, 16, 32, 64, 1 << 30) if step * pitch >= 13)


def end_width(scale: float) -> float:
    """Px of the mark at the end of an output, where an iteration has `scale` px."""
    return max(1.0, min(3.0, scale * 0.45))


def ends_of(trace: Trace) -> set[tuple[int, int]]:
    """(request, iteration in which its output ended) of every request that has ended."""
    table = trace.requests
    return {(int(i), int(f)) for i, f, r in zip(table.id, table.finished, table.reason, strict=True) if r >= 0}


def coarse(trace: Trace, columns: int, parts: int, extent: float, theme: Theme, start: float = 0.0) -> np.ndarray:
    """Pixels, uint8 [slots * parts, columns, 4], of a run whose iterations from `start` to `extent` fill the columns.

    Each slot and column stacks its states by share of time, useful on top and waste at the bottom, so that a state's
    area is its share of the time however many iterations a column covers.
    """
    state, request = dense(trace)
    slots, n = state.shape
    edges = np.linspace(start, extent, columns + 1)
    shares = np.zeros((8, slots, columns))
    for code in range(8):
        sums = np.concatenate([np.zeros((slots, 1)), np.cumsum(state == code, axis=1)], axis=1)
        at = np.clip(edges, 0, n)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, n)
        exact = sums[:, low] + (sums[:, high] - sums[:, low]) * (at - low)
        shares[code] = np.diff(exact, axis=1)
    total = shares.sum(axis=0)
    middle = np.clip(((edges[:-1] + np.minimum(edges[1:], n)) / 2).astype(int), 0, max(n - 1, 0))
    whose = request[:, middle] if n else np.full((slots, columns), -1, np.int32)
    # Where the middle of a column is idle or held, the next useful cell of the slot lends its colour.
    useful = (state == State.PREFILL) | (state == State.DECODE)
    if n:
        index = np.where(useful, np.arange(n), n - 1)
        following = np.minimum.accumulate(index[:, ::-1], axis=1)[:, ::-1]
        whose = np.take_along_axis(request, following[:, middle], axis=1)
    colours = np.array([rgb(colour) for colour in PALETTE], np.uint8)[whose % len(PALETTE)]
    pale = np.array([rgb(stalled_ground(colour, theme)) for colour in PALETTE], np.uint8)[whose % len(PALETTE)]
    plain = {code: [rgb(part) for part in ground_and_ink(code, "", theme)] for code in (State.IDLE, State.HELD, WASTED)}
    picture = np.zeros((slots, parts, columns, 4), np.uint8)
    level = np.cumsum(np.stack([shares[code] for code in _STACK]), axis=0)
    column = np.arange(columns)
    for part in range(parts):
        place = (part + 0.5) / parts * total
        chosen = np.argmax(level > place[None], axis=0)
        for rank, code in enumerate(_STACK):
            here = (chosen == rank) & (total > 0)
            if code == CLOSED:
                continue
            if code in plain:
                ground, ink = plain[code]
                picture[:, part][here] = (*ground, 255)
                sparse = (column % 6 == 0) & (part % 4 == 3)
                dots = here & (sparse if code == State.IDLE else (column + 2 * part) % 4 == 0)[None]
                picture[:, part][dots] = (*ink, 255)
            else:
                shade = pale if code == State.STALLED else colours
                picture[:, part][here] = np.concatenate([shade[here], np.full((int(here.sum()), 1), 255)], axis=1)
    return picture.reshape(slots * parts, columns, 4)
