"""A Gantt chart of an endpoint's requests: its rows are requests, and never slots, which an endpoint does not show."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Protocol

from cbviz.messages import FIRST, Message

MOST_DRAWN = 400
"""Requests that are drawn; more would be thinner than a line."""
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 900, 56, 16, 56, 34
WAITING, STREAMING, FAILED, INK = "#c9ced6", "#2f6fb0", "#c0392b", "#3b4252"
TICKS = 5


class Drawn(Protocol):
    """What a row needs."""

    id: int
    arrival: float
    end: float
    times: list[float]
    error: Message | None


def gantt(calls: Sequence[Drawn], seconds: float, language: str = FIRST) -> str:
    """Draw the requests of a load run.

    Parameters
    ----------
    calls
        One row each, in this order: from its arrival to its end, waiting until the first piece came.
    seconds
        Length of the time axis.
    language
        Of the labels.

    Returns
    -------
    str
        An SVG.
    """

    def say(key: str, **facts: int | float | str) -> str:
        return escape(Message(key, **facts).in_language(language))

    shown = calls[:MOST_DRAWN]
    row = max(2.0, min(14.0, 420 / max(1, len(shown))))
    scale = (WIDTH - LEFT - RIGHT) / max(seconds, 1e-9)
    height = TOP + row * len(shown) + BOTTOM

    def bar(y: float, begin: float, end: float, colour: str) -> str:
        wide = max(0.6, (end - begin) * scale)
        return (
            f'<rect x="{LEFT + begin * scale:.1f}" y="{y + 0.15 * row:.1f}" width="{wide:.1f}" '
            f'height="{0.7 * row:.1f}" fill="{colour}"/>'
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-weight="600">{say("load.gantt_title")}</text>',
    ]
    x = LEFT
    for key, colour in (
        ("load.gantt_waiting", WAITING),
        ("load.gantt_streaming", STREAMING),
        ("load.gantt_failed", FAILED),
    ):
        label = say(key)
        parts.append(f'<rect x="{x}" y="30" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="40">{label}</text>')
        x += 17 + 8 * len(label) + 24
    for n, call in enumerate(shown):
        y = TOP + n * row
        first = call.times[0] if call.times else call.end
        parts.append(bar(y, call.arrival, first, WAITING))
        if call.times:
            parts.append(bar(y, first, call.times[-1], STREAMING))
        if call.error is not None:
            parts.append(bar(y, call.end - 3 / scale, call.end, FAILED))
        if row >= 10 or n % 10 == 0:
            parts.append(
                f'<text x="{LEFT - 6}" y="{y + 0.75 * row:.1f}" text-anchor="end" font-size="9">{call.id}</text>'
            )
    base = TOP + row * len(shown)
    for tick in range(TICKS + 1):
        at = LEFT + tick * (WIDTH - LEFT - RIGHT) / TICKS
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{base:.1f}" stroke="{INK}" stroke-opacity="0.15"/>'
        )
        parts.append(f'<text x="{at:.1f}" y="{base + 14:.1f}" text-anchor="middle">{seconds * tick / TICKS:.3g}</text>')
    note = say("load.gantt_axis")
    if len(calls) > MOST_DRAWN:
        note += " · " + say("load.gantt_more", shown=MOST_DRAWN, all=len(calls))
    parts.append(f'<text x="{LEFT}" y="{base + 29:.1f}">{note}</text></svg>')
    return "".join(parts)
