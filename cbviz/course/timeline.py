"""When the tokens of a request came: one line per run, one mark per token, the longest gap in another colour.

An SVG image and plain text, the same bytes for the same times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

from cbviz.checks import finite, listed, shown
from cbviz.course.show import Shown
from cbviz.course.words import term
from cbviz.errors import CbvizError
from cbviz.view.colours import GREEN, INK, VERMILION
from cbviz.view.svg import image

TOKEN, GAP = GREEN, VERMILION
"""Okabe & Ito's bluish green and vermilion; they read on white and on dark pages. The gap is thick, too."""
LEFT, WIDE, ROW = 150, 560, 34


def timeline(rows: Sequence[tuple[str, Sequence[float]]], arrivals: Sequence[float] = ()) -> Shown:
    """Draw when tokens came.

    Parameters
    ----------
    rows
        Name of the run, and the times of one request's tokens: at least two, rising, all on the same clock.
    arrivals
        When other requests arrived, shown as small triangles below.

    Returns
    -------
    Shown
        Displayed by a notebook.

    Raises
    ------
    CbvizError
        No row, fewer than two times, or times that do not rise.
    """
    runs = [_run(row) for row in listed("rows", rows, "(name, times)")]
    if not runs:
        raise CbvizError("a timeline needs at least one row.")
    given = listed("arrivals", arrivals, "numbers")
    came = [time for time in map(finite, given) if time is not None]
    if len(came) < len(given):
        raise CbvizError(f"arrivals must be a list of finite numbers, not {shown(arrivals)}.")
    begin = min(0.0, *(times[0] for _, times in runs))
    end = max(*(times[-1] for _, times in runs), *came, begin + 1e-9)
    if not math.isfinite(WIDE / (end - begin)) or not math.isfinite(end - begin):
        raise CbvizError("the times are too far apart, or too close together, to draw.")
    scale = WIDE / (end - begin)

    def at(time: float) -> float:
        return LEFT + (float(time) - begin) * scale

    parts, lines = [], []
    for number, (name, times) in enumerate(runs):
        y = ROW * number + 22
        start, stop = max(pairwise(times), key=lambda pair: pair[1] - pair[0])
        middle = min(max((at(start) + at(stop)) / 2, LEFT + 16), LEFT + WIDE - 16)
        marks = "".join(f"M{at(t):.1f} {y - 6}v12" for t in times)
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end" fill="{INK}">{escape(term(name))}</text>'
            f'<path d="M{at(times[0]):.1f} {y}H{at(times[-1]):.1f}" stroke="{INK}" stroke-opacity="0.4"/>'
            f'<path d="{marks}" stroke="{TOKEN}" stroke-width="1.4"/>'
            f'<path d="M{at(start):.1f} {y}H{at(stop):.1f}" stroke="{GAP}" stroke-width="4"/>'
            f'<text x="{middle:.1f}" y="{y - 9}" text-anchor="middle" font-weight="600" fill="{GAP}">'
            f"{stop - start:.1f}</text>"
        )
        lines.append(
            f"{term(name)}: {len(times)} {term('tokens')}, {term('longest gap')} {stop - start:.1f} "
            f"({start:.1f} – {stop:.1f})"
        )
    bottom = ROW * len(runs) + 8
    triangles = "".join(f"M{at(t):.1f} {bottom}l-4 8h8z" for t in came)
    height = bottom + (12 if came else 0)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + 20}" height="{height}" font-size="13" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}<path d="{triangles}" fill="{INK}"/></svg>'
    )
    return Shown(image(svg), "\n".join(lines))


def _run(row: Any) -> tuple[str, list[float]]:
    """A row of `timeline` in plain types."""
    try:
        text, given = str(row[0]), [finite(time) for time in row[1]]
    except Exception:  # not a pair, no list, or code of the caller's
        raise CbvizError(f"a row of a timeline is (name, [time, time, …]), not {shown(row)}.") from None
    times = [time for time in given if time is not None]
    if not 2 <= len(times) == len(given) or any(b <= a for a, b in pairwise(times)):
        raise CbvizError(f"the times of {shown(text)} must be at least two finite numbers that rise.")
    return text, times
