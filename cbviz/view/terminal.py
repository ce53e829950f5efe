"""The grid in a terminal: one row per slot; each column covers as many iterations as the width requires."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cbviz.checks import is_whole
from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.paths import printable
from cbviz.trace.trace import Trace
from cbviz.view.colours import colour_of, ink_on, text_on
from cbviz.view.look import CLOSED, WASTED, dense
from cbviz.view.ticks import whole_step

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
"""One character per state, so that the grid also reads without colour. END is `]`."""
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
    """The run as a grid of text for rich to print.

    Parameters
    ----------
    trace
        The run.
    width
        Most characters in a line, at least 30. A column shows what filled most of its iterations.
    color
        False shows states by characters only.
    extent
        Iterations that the full width covers, at least the run's own: pass the length of the longest of several runs,
        so that their columns line up. None: this run fills the width.
    legend
        Whether to explain the characters under the grid.

    Returns
    -------
    Text
        For `rich.print`; `str()` of it is plain text.

    Raises
    ------
    CbvizError
        An invalid width or extent.
    """
    if not is_whole(width) or width < LEAST_WIDTH:
        raise CbvizError(f"width must be a whole number of at least {LEAST_WIDTH} characters, not {width!r}.")
    n, slots = len(trace.iterations), trace.meta.slots
    whole = n if extent is None else extent
    if not is_whole(whole) or whole < n:
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
    """One slot: the character of each column, request numbers where they fit, and END where a request ended."""
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
    step = whole_step(columns / n, 9)
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
