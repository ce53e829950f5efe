"""The grid in a terminal: one row per slot; each column covers as many iterations as the width requires."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cbviz.checks import is_whole, shown
from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.measure.rounding import percent
from cbviz.messages import check_language, say
from cbviz.paths import printable
from cbviz.trace.trace import Trace
from cbviz.view.colours import colour_of, ink_on, text_on
from cbviz.view.look import CLOSED, STATE_WORDS, WASTED, dense
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
LEGEND = (State.PREFILL, State.DECODE, State.RECOMPUTE, State.HELD, State.STALLED, WASTED)
"""The states that a legend explains, where they occur."""
LEAST_WIDTH = 30
MOST_ROWS = 64


def grid(
    trace: Trace,
    width: int = 100,
    color: bool = True,
    *,
    extent: int | None = None,
    legend: bool = True,
    language: str = "en",
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
        Whether to explain the characters of the grid under it.
    language
        Of heading and legend.

    Returns
    -------
    Text
        For `rich.print`; `str()` of it is plain text.

    Raises
    ------
    CbvizError
        An invalid width or extent, or an unknown language.
    """
    lines, signs = _drawn(trace, trace.meta.policy, width, color, extent, check_language(language))
    return Group(*lines, *([_legend(signs, color, language)] if legend and signs else []))


def grids(
    traces: Sequence[Trace], names: Sequence[str], width: int = 100, color: bool = True, *, language: str = "en"
) -> RenderableType:
    """Several runs one above the other, on one scale, with one legend that explains the characters that occur.

    Parameters
    ----------
    traces, names
        The lanes and their names.
    width, color, language
        As for `grid`. A run that is too large to draw gets a sentence instead.

    Returns
    -------
    Group
        For `rich.print`.
    """
    longest = max(len(trace.iterations) for trace in traces)
    blocks: list[Text] = []
    occurring: set[str] = set()
    for trace, name in zip(traces, names, strict=True):
        try:
            lines, signs = _drawn(trace, name, width, color, longest, language)
        except CbvizError as error:  # the numbers are not too large
            lines, signs = (
                [Text(say(language, "cli.too_large", {"policy": printable(name), "error": str(error)}))],
                set(),
            )
        blocks += [*lines, Text("")]
        occurring |= signs
    return Group(*blocks, *([_legend(occurring, color, language), Text("")] if occurring else []))


def _drawn(
    trace: Trace, name: str, width: int, color: bool, extent: int | None, language: str
) -> tuple[list[Text], set[str]]:
    """The lines of a run, and the characters that its rows contain."""
    if not is_whole(width) or width < LEAST_WIDTH:
        raise CbvizError(f"width must be a whole number of at least {LEAST_WIDTH} characters, not {shown(width)}.")
    n, slots = len(trace.iterations), trace.meta.slots
    whole = n if extent is None else extent
    if not is_whole(whole) or whole < n:
        raise CbvizError(f"extent must be a whole number of at least the run's {n} iterations, not {shown(extent)}.")
    margin = len(str(max(slots - 1, 0))) + 1
    columns = max(1, round(min(whole, width - margin) * n / whole)) if n else 1
    lines = [_heading(trace, name, width, language)]
    if not n:
        return lines, set()
    edges = np.linspace(0, n, columns + 1).astype(int)
    state, request = dense(trace)
    rows = [
        _row(trace, slot, state[slot], request[slot], edges, margin, color) for slot in range(min(slots, MOST_ROWS))
    ]
    lines += rows
    if slots > MOST_ROWS:
        left = slots - MOST_ROWS
        lines.append(Text(say(language, "cli.more_slots", {"n": left, "count": f"{left:,}"}), style="dim" * color))
    lines.append(_ruler(n, columns, margin, color))
    return lines, {sign for row in rows for sign in row.plain[margin:]}


def _heading(trace: Trace, name: str, width: int, language: str) -> Text:
    n = len(trace.iterations)
    facts = {"n": n, "count": f"{n:,}", "occupancy": percent(trace.occupancy)}
    heading = Text(printable(name), style="bold")
    heading.append(f"  {say(language, 'board.picture_count', facts)}", style="not bold")
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


def _legend(signs: set[str], color: bool, language: str) -> Text:
    """What the characters that occur mean."""
    text = Text()
    for state in LEGEND:
        sign = SIGNS[state]
        if sign in signs:
            text.append(sign * 2, style=_style(state, 0, sign, False) if color else "")
            text.append(f" {say(language, f'board.{STATE_WORDS[state]}')}   ", style="dim" if color else "")
    if END in signs:
        text.append(END, style="bold" if color else "")
        text.append(f" {say(language, 'cli.legend_end')}   ", style="dim" if color else "")
    if any(sign.isdigit() for sign in signs):
        text.append("12", style="bold" if color else "")
        text.append(f" {say(language, 'cli.legend_number')}", style="dim" if color else "")
    text.rstrip()
    return text
