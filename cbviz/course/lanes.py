"""Slots over time, small: a bar for each request in its slot, from the first iteration to the last.

An SVG image and plain text, the same bytes for the same runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cbviz.course.show import Shown
from cbviz.course.words import say, term
from cbviz.events import Iteration, State
from cbviz.measure.rounding import percent
from cbviz.trace import Trace
from cbviz.view.colours import INK, colour_of, text_on
from cbviz.view.look import WASTED, dense, labels
from cbviz.view.svg import image
from cbviz.view.ticks import whole_step

NAMES, WIDE, MOST_WIDE = 110, 620, 30
"""Pixels: for the names of the lanes, for the longest lane, and for one iteration at most."""
ROW, THIN_ROW, GAP, AXIS = 18, 11, 12, 22
"""Pixels: height of a slot (thin where a lane has more than eight), between lanes, and for the axis below."""
HELD = "#666c74"
"""White letters and crosses read on it, and it shows on white and on dark pages."""
ADVANCING = tuple(state for state in State if state.useful)
"""What counts as useful."""
HELD_ART = (
    f'<pattern id="held" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="{HELD}"/>'
    '<path d="M1.6 1.6L4.4 4.4M4.4 1.6L1.6 4.4" stroke="#ffffff" stroke-opacity="0.45" stroke-width=".9"/></pattern>'
)


@dataclass(frozen=True, slots=True)
class SlotLane:
    """A run or a part of one: `states` and `owners` are [slots, iterations], as `cbviz.view.look.dense` gives them."""

    name: str
    states: np.ndarray
    owners: np.ndarray
    labels: dict[int, str]

    @classmethod
    def of(cls, trace: Trace, name: str | None = None) -> SlotLane:
        """The lane of a complete run."""
        return cls(trace.meta.policy if name is None else name, *dense(trace), labels(trace))

    @classmethod
    def so_far(cls, name: str, events: Sequence[Iteration], slots: int) -> SlotLane:
        """The lane of a run that has not ended."""
        states = np.full((slots, len(events)), State.IDLE, dtype=np.uint8)
        owners = np.full((slots, len(events)), -1, dtype=np.int32)
        for at, event in enumerate(events):
            empty = event.request < 0
            states[:, at] = np.where(empty & (event.waiting > 0), WASTED, event.state)
            owners[:, at] = event.request
        return cls(name, states, owners, {})

    @property
    def iterations(self) -> int:
        """How many."""
        return int(self.states.shape[1])

    @property
    def useful(self) -> float:
        """Share of the slot-iterations that advanced a request, 0 to 1."""
        return float(np.isin(self.states, ADVANCING).mean()) if self.states.size else 0.0

    def count(self, *states: int) -> int:
        """Slot-iterations in one of these states."""
        return int(np.isin(self.states, states).sum())


def lanes(*runs: SlotLane, room: int = 0) -> Shown:
    """Draw lanes under each other on one axis.

    Parameters
    ----------
    runs
        At least one.
    room
        Iterations for which there is room on the axis, if more than the longest lane has.

    Returns
    -------
    Shown
        As text, one line a lane: iterations and occupancy.
    """
    longest = max(room, 1, *(lane.iterations for lane in runs))
    cell = min(MOST_WIDE, WIDE / longest)
    parts: list[str] = []
    y = 4
    for lane in runs:
        slots = len(lane.states)
        row = ROW if slots <= 8 else THIN_ROW
        middle = y + slots * row / 2
        parts.append(_words(NAMES - 10, middle + 4, term(lane.name), "end", INK, bold=True))
        for slot in range(slots):
            parts += _slot(lane, slot, y + slot * row, row, cell)
        parts.append(
            f'<rect x="{NAMES}" y="{y}" width="{(lane.iterations or longest) * cell:.1f}" height="{slots * row}" '
            f'fill="none" stroke="{INK}"/>'
        )
        if lane.iterations:
            parts.append(_words(NAMES + lane.iterations * cell + 8, middle + 4, str(lane.iterations), "start", INK))
        y += slots * row + GAP
    parts += _axis(y - GAP, longest, cell)
    size = (NAMES + WIDE + 50, y - GAP + AXIS)
    text = "\n".join(_said(lane) for lane in runs)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-size="13" '
        f'font-family="system-ui, sans-serif"><defs>{HELD_ART}</defs>{"".join(parts)}</svg>'
    )
    return Shown(image(svg, text, size), text)


def _said(lane: SlotLane) -> str:
    return say("lane", policy=term(lane.name), n=lane.iterations, useful=percent(lane.useful))


def _slot(lane: SlotLane, slot: int, y: float, row: int, cell: float) -> list[str]:
    """A slot's bars: neighbouring iterations of one request and one look are one bar."""
    parts = []
    start = 0
    looks = [(int(who), _look(int(what))) for who, what in zip(lane.owners[slot], lane.states[slot], strict=True)]
    for at, look in enumerate(looks):
        if at + 1 < len(looks) and looks[at + 1] == look:
            continue
        who, kind = look
        x, wide = NAMES + start * cell, (at + 1 - start) * cell
        if kind != "idle":
            parts.append(_bar(who, kind, x, y, wide, row))
        name = lane.labels.get(who, str(who))
        if kind == "useful" and row >= ROW and wide > 8 * len(name) + 4:
            parts.append(_words(x + 4, y + row - 5, name, "start", text_on(colour_of(who))))
        start = at + 1
    return parts


def _look(state: int) -> str:
    if state == State.HELD:
        return "held"
    if state in (State.IDLE, WASTED):
        return "idle" if state == State.IDLE else "wasted"
    return "useful" if state in ADVANCING else "other"


def _bar(who: int, kind: str, x: float, y: float, wide: float, row: int) -> str:
    colour = colour_of(who) if who >= 0 else INK
    fill = {
        "held": 'fill="url(#held)"',
        "wasted": f'fill="none" stroke="{INK}" stroke-dasharray="3 3"',
        "other": f'fill="{colour}" fill-opacity="0.35" stroke="{colour}"',
    }.get(kind, f'fill="{colour}"')
    return f'<rect x="{x + 0.5:.1f}" y="{y + 1}" width="{max(wide - 1, 0.5):.1f}" height="{row - 2}" {fill}/>'


def _axis(y: float, longest: int, cell: float) -> list[str]:
    """Numbers of iterations, a round step apart."""
    step = whole_step(cell, 56)
    parts = [
        _words(NAMES + at * cell, y + 17, str(at), "middle", INK)
        for at in range(0, longest + 1, step)
        if at * cell < WIDE
    ]
    return [*parts, _words(NAMES - 14, y + 17, term("iterations"), "end", INK)]


def _words(x: float, y: float, words: str, anchor: str, ink: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}"{weight}>{escape(words)}</text>'
