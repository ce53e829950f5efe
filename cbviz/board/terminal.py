"""The grid in a terminal: one row a slot, one column for as many iterations as the width demands."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cbviz.board.look import CLOSED, WASTED, colour_of, dense, ink_on, text_on
from cbviz.errors import CbvizError
from cbviz.paths import printable
from cbviz.trace.events import State
from cbviz.trace.trace import Trace

SIGNS: dict[int, str] = {
    State.PREFILL: "/",
    State.DECODE: "█",
    State.RECOMPUTE: "|",
    State.HELD: "x",
    State.STALLED: "=",
    State.IDLE: " ",
    WASTED: ".",
    CLOSED: " ",
}
"""One character a state, so that the grid reads without colour too. END is `]`."""
END = "]"
LEGEND = (
    (State.PREFILL, "prefill"),
    (State.DECODE, "decode"),
    (State.RECOMPUTE, "recompute"),
    (State.HELD, "held"),
    (State.STALLED, "stalled"),
    (WASTED, "idle while someone waits"),
)
LEAST_WIDTH = 30
MOST_ROWS = 64


def grid(
    trace: Trace, width: int = 100, color: bool = True, *, extent: int | None = None, legend: bool = True
) -> RenderableType:
    """The run as a drawn grid that rich prints.

    Parameters
    ----------
    trace
        The run.
    width
        Characters that a line may have, at least 30. A column shows what filled most of its iterations.
    color
        False leaves the characters alone to tell the states.
    extent
        Iterations that the whole width stands for, at least the run's own: give the longest of several runs, so that
        their columns line up. None: this run fills the width.
    legend
        Whether to explain the signs under the grid.

    Raises
    ------
    CbvizError
        A width that makes no sense.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < LEAST_WIDTH:
        raise CbvizError(f"width must be a whole number of at least {LEAST_WIDTH} characters, not {width!r}.")
    n, slots = len(trace.iterations), trace.meta.slots
    whole = n if extent is None else extent
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < n:
        raise CbvizError(f"extent must be a whole number of at least the run's {n} iterations, not {extent!r}.")
    margin = len(str(max(slots - 1, 0))) + 1
    columns = max(1, round(min(whole, width - margin) * n / whole)) if n else 1
    lines = [_heading(trace, width)]
    if n:
        edges = np.linspace(0, n, columns + 1).astype(int)
        state, request = dense(trace)
        lines += [
            _row(trace, slot, state[slot], request[slot], edges, margin, color) for slot in range(min(slots, MOST_ROWS))
        ]
        if slots > MOST_ROWS:
            lines.append(Text(f"… and {slots - MOST_ROWS} more slots", style="dim" if color else ""))
        lines.append(_ruler(n, columns, margin, color))
        if legend:
            lines.append(_legend(width, color))
    return Group(*lines)


def _heading(trace: Trace, width: int) -> Text:
    heading = Text(printable(trace.meta.policy), style="bold")
    heading.append(f"  {len(trace.iterations):,} iterations, occupancy {trace.occupancy:.0%}", style="not bold")
    heading.truncate(width, overflow="ellipsis")
    return heading


def _row(
    trace: Trace, slot: int, state: np.ndarray, request: np.ndarray, edges: np.ndarray, margin: int, color: bool
) -> Text:
    """One slot: the sign of each column, request numbers where there is room, and END where a request ended."""
    columns = len(edges) - 1
    signs, owners, states = [], [], []
    for low, high in pairwise(edges):
        counts = np.bincount(state[low:high])
        most = int(counts.argmax())
        cells = request[low:high][state[low:high] == most]
        signs.append(SIGNS[most])
        owners.append(int(cells[-1]))
        states.append(most)
    for row in range(len(trace.requests)):
        last = int(trace.requests.finished[row])
        if trace.requests.reason[row] >= 0 and 0 <= last < len(state) and request[last] == trace.requests.id[row]:
            column = min(columns - 1, int(np.searchsorted(edges, last, side="right")) - 1)
            if states[column] in (State.DECODE, State.PREFILL) and owners[column] == trace.requests.id[row]:
                signs[column] = END
    labelled: set[int] = set()
    start = 0
    while start < columns:
        end = start
        while end < columns and (owners[end], states[end]) == (owners[start], states[start]):
            end += 1
        label = str(owners[start])
        if states[start] == State.DECODE and end - start >= len(label) + 2:
            at = start + (end - start - len(label)) // 2
            for i, digit in enumerate(label):
                signs[at + i] = digit
                labelled.add(at + i)
        start = end
    text = Text(f"{slot:>{margin - 1}} ", style="dim" if color else "")
    for column in range(columns):
        style = _style(states[column], owners[column], signs[column], column in labelled) if color else ""
        text.append(signs[column], style=style)
    text.no_wrap = True
    return text


def _style(state: int, owner: int, sign: str, labelled: bool) -> str:
    if state == State.HELD:
        return "grey50"
    if state == WASTED:
        return "red"
    if state in (State.IDLE, CLOSED):
        return ""
    colour = colour_of(owner)
    if labelled:
        return f"bold {text_on(colour)} on {colour}"
    if sign == END:
        return f"bold {text_on(colour)} on {colour}"
    if state == State.DECODE:
        return colour
    if state == State.STALLED:
        return f"dim {colour}"
    return f"{ink_on(colour)} on {colour}"


def _ruler(n: int, columns: int, margin: int, color: bool) -> Text:
    """Iteration numbers under the columns."""
    step = 1
    while step * columns / n < 9:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    line = [" "] * (columns + margin)
    for value in range(0, n, step):
        at = margin + int(value * columns / n)
        label = f"{value:,}"
        if at + len(label) <= len(line):
            line[at : at + len(label)] = label
    return Text("".join(line), style="dim" if color else "", no_wrap=True)


def _legend(width: int, color: bool) -> Text:
    text = Text()
    for state, words in LEGEND:
        sign = SIGNS[State(state) if state != WASTED else WASTED]
        text.append(sign * 2, style=_style(state, 0, sign, False) if color else "")
        text.append(f" {words}  ", style="dim" if color else "")
    text.append(END, style="bold" if color else "")
    text.append(" END", style="dim" if color else "")
    return text
