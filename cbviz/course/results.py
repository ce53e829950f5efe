"""What a race showed, in one call each: the counts, the seconds, where the slots went, and who was served sooner.

Every function takes a race, or the traces of one. Counts are the same on every machine; seconds are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from cbviz.checks import shown
from cbviz.course.lanes import HELD, HELD_ART
from cbviz.course.show import Shown, table
from cbviz.course.words import term
from cbviz.errors import CbvizError
from cbviz.measure import same_answers
from cbviz.measure.compare import check_same_work
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.rounding import percent
from cbviz.run.race_result import RaceResult
from cbviz.trace import Trace
from cbviz.view.colours import GREEN, INK
from cbviz.view.svg import image

NAMES, WIDE, ROW = 150, 600, 46
"""Pixels: for the names of the lanes, for the longest bar, and for each lane."""


def numbers(runs: Any) -> Shown:
    """Iterations, occupancy and how many answers agree, lane by lane.

    Parameters
    ----------
    runs
        A race, or a sequence of traces.

    Returns
    -------
    Shown
        A table. The answers compared are those that every lane completed.

    Raises
    ------
    CbvizError
        It is neither, or has no lane.

    Examples
    --------
    >>> import cbviz
    >>> numbers(cbviz.recorded("llama-8b-32"))
    policy      iterations  occupancy  same answers
    static            1967        30%  23 / 128
    continuous         948        61%  23 / 128
    """
    traces = _traces(runs)
    same, compared = same_answers(*traces)
    return table(
        ["policy", "iterations", "occupancy", "same answers"],
        [
            (name, len(trace.iterations), percent(trace.occupancy), f"{same} / {compared}")
            for name, trace in _named(traces)
        ],
    )


def seconds(runs: Any) -> Shown:
    """Seconds and output tokens a second of every lane, and how many times as fast as the first it was.

    Parameters
    ----------
    runs
        A race, or a sequence of traces.

    Returns
    -------
    Shown
        A table. The seconds are those of the machine that ran it.

    Raises
    ------
    CbvizError
        It is neither, or has no lane.
    """
    traces = _traces(runs)
    return table(
        ["policy", "seconds", "tokens/s", "ratio"],
        [
            (
                name,
                f"{trace.seconds:.2f}",
                f"{trace.tokens_per_second:.0f}",
                f"{traces[0].seconds / trace.seconds:.2f}" if trace.seconds else "–",
            )
            for name, trace in _named(traces)
        ],
    )


def slot_use(runs: Any) -> Shown:
    """Where the slot-iterations went: a bar for each lane, in true proportion to the others.

    Parameters
    ----------
    runs
        A race, or a sequence of traces.

    Returns
    -------
    Shown
        Bars; as text, a table of prefill, decode, held and idle slot-iterations.

    Raises
    ------
    CbvizError
        It is neither, or has no lane.

    Examples
    --------
    >>> import cbviz
    >>> slot_use(cbviz.recorded("smollm2-8"))
    policy      prefill  decode  held  idle
    static           48    1520  3480     0
    continuous       48    1470     0   786
    """
    traces = _traces(runs)
    counted = [(name, _counts(trace)) for name, trace in _named(traces)]
    text = table(["policy", "prefill", "decode", "held", "idle"], [(name, *counts) for name, counts in counted])
    longest = max(1, *(sum(counts) for _, counts in counted))
    parts = []
    for row, (name, (prefill, decode, held, idle)) in enumerate(counted):
        y, x = ROW * row + 6, float(NAMES)
        parts.append(_words(NAMES - 10, y + 19, term(name), "end", INK))
        for kind, count in (("useful", prefill + decode), ("held", held), ("idle", idle)):
            wide = WIDE * count / longest
            if not count:
                continue
            parts.append(_part(kind, x, y, wide))
            said = f"{term(kind)} {count:,}"
            if wide > 8 * len(said) + 8:
                parts.append(_words(x + wide / 2, y + 19, said, "middle", INK if kind == "idle" else "#ffffff", kind))
            else:
                parts.append(_words(x + wide + 6, y + 19, said, "start", INK))
            x += wide
    height = ROW * len(counted)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{NAMES + WIDE + 110}" height="{height}" font-size="13" '
        f'font-family="system-ui, sans-serif"><defs>{HELD_ART}</defs>{"".join(parts)}</svg>'
    )
    return Shown(image(svg, repr(text)), repr(text))


def sooner(runs: Any) -> Shown:
    """How many requests the last lane completed in an earlier, the same, or a later iteration than the first.

    Parameters
    ----------
    runs
        A race, or a sequence of traces: two lanes or more that served the same requests to the end.

    Returns
    -------
    Shown
        A table of three counts.

    Raises
    ------
    CbvizError
        It is neither, has one lane alone, or its lanes served different requests.

    Examples
    --------
    >>> import cbviz
    >>> sooner(cbviz.recorded("llama-8b-32"))
    sooner  the same  later
        96        32      0
    """
    traces = _traces(runs)
    if len(traces) < 2:
        raise CbvizError("this compares two lanes, and here is one.")
    check_same_work(traces[0], traces[-1])
    ends = (traces[0].requests, traces[-1].requests)
    before, after = (dict(zip(rows.id.tolist(), rows.finished.tolist(), strict=True)) for rows in ends)
    gain = np.array([before[request] - after[request] for request in before])
    return table(
        ["sooner", "the same", "later"], [(int((gain > 0).sum()), int((gain == 0).sum()), int((gain < 0).sum()))]
    )


def _traces(runs: Any) -> tuple[Trace, ...]:
    """The traces. A race that still runs is waited for, and one that waits for its Start is started."""
    if isinstance(runs, RaceResult):
        runs.settle()
    found = getattr(runs, "traces", runs)
    if not isinstance(found, Sequence) or not found or not all(isinstance(trace, Trace) for trace in found):
        raise CbvizError(f"this takes a race, or the traces of one, not {shown(runs)}.")
    return tuple(found)


def _named(traces: Sequence[Trace]) -> list[tuple[str, Trace]]:
    return list(zip(distinct_names([trace.meta.lane for trace in traces]), traces, strict=True))


def _counts(trace: Trace) -> tuple[int, int, int, int]:
    steps = trace.iterations
    columns = (steps.prefill_slots, steps.decode_slots, steps.held_slots, steps.idle_slots)
    prefill, decode, held, idle = (int(column.sum()) for column in columns)
    return prefill, decode, held, idle


def _part(kind: str, x: float, y: float, wide: float) -> str:
    fill = {"useful": f'fill="{GREEN}"', "held": 'fill="url(#held)"'}.get(kind, 'fill="none"')
    return f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="28" {fill} stroke="{INK}"/>'


def _words(x: float, y: float, words: str, anchor: str, ink: str, on: str = "") -> str:
    """Words; on the crosses of a held bar they keep a rim of its ground."""
    rim = f' paint-order="stroke" stroke="{HELD}" stroke-width="5" stroke-linejoin="round"' if on == "held" else ""
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{ink}" font-weight="600"{rim}>{escape(words)}</text>'
    )
