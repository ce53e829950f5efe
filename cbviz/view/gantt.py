"""Requests over time: one bar per request, from its arrival to its last token.

Drawn for runs of other tools, which know when each request was sent and answered, and not in which slot it ran. The
picture is an SVG on a transparent ground; phases differ by texture as well as by colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from cbviz.checks import counted, is_a, shown
from cbviz.errors import MeasureError
from cbviz.messages import Message, check_language
from cbviz.view.chart import FONT
from cbviz.view.colours import BLUE, INK, ORANGE, VERMILION
from cbviz.view.svg import Picture
from cbviz.view.ticks import label, step_above
from cbviz.workload import LoadResults, Served

MOST_BARS = 200
"""Bars of a picture; of more requests every so many-th is drawn."""
ACROSS, LEFT_EDGE, RIGHT_EDGE, HEAD, FOOTER = 900, 46, 12, 66, 44
TALLEST, LOWEST, ROOM = 14.0, 2.5, 480.0


@dataclass(frozen=True, slots=True)
class Gantt(Picture):
    """The picture of a run. A notebook displays it.

    Parameters
    ----------
    results
        A run whose file tells when requests were sent.
    language
        Of title and legend.

    Raises
    ------
    MeasureError
        The times are not known.
    """

    results: LoadResults
    language: str = "en"

    def __post_init__(self) -> None:
        if not is_a(self.results, LoadResults):
            raise MeasureError(f"a run is needed, such as read_results(path)[0], not {shown(self.results)}.")
        check_language(self.language)
        if not self.results.timed:
            raise MeasureError(f"{self.results.name} does not say when requests were sent, so they cannot be drawn.")

    def __repr__(self) -> str:
        return f"<Gantt of {counted(len(self.results.served), 'request')} of {self.results.name!r}>"

    def drawn(self) -> tuple[Served, ...]:
        """The requests that get a bar, in order of arrival.

        Returns
        -------
        tuple of Served
            All of them, or `MOST_BARS` evenly spread.
        """
        served = sorted(self.results.served, key=lambda one: one.arrival)
        if len(served) <= MOST_BARS:
            return tuple(served)
        step = (len(served) - 1) / (MOST_BARS - 1)
        return tuple(served[round(n * step)] for n in range(MOST_BARS))

    def svg(self) -> str:
        """The picture as an SVG document.

        Returns
        -------
        str
            Its bytes depend only on the run and the language.
        """
        bars = self.drawn()
        start = bars[0].arrival
        seconds = max(max(one.sent, one.last or 0.0, one.end or 0.0) for one in bars) - start or 1.0
        row = min(TALLEST, max(LOWEST, ROOM / len(bars)))
        height = round(HEAD + row * len(bars) + FOOTER)
        scale = (ACROSS - LEFT_EDGE - RIGHT_EDGE) / seconds
        title = self._say("doctor.gantt.title", name=self.results.name)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS} {height}" width="{ACROSS}" '
            f'height="{height}" role="img" font-family="{FONT}" font-size="12" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            '<defs><pattern id="w" width="5" height="5" patternUnits="userSpaceOnUse"><path d="M0 5L5 0" '
            f'stroke="{INK}" stroke-width="1"/></pattern></defs>',
            f'<text x="{LEFT_EDGE}" y="18" font-size="14" font-weight="600">{escape(title)}</text>',
            *self._legend(bars),
            *_axis(seconds, scale, HEAD + row * len(bars), self._say("doctor.gantt.rows")),
        ]
        if len(bars) < len(self.results.served):
            note = self._say("doctor.gantt.some", drawn=len(bars), n=len(self.results.served))
            parts.append(
                f'<text x="{ACROSS - RIGHT_EDGE}" y="18" text-anchor="end" font-size="11">{escape(note)}</text>'
            )
        for n, one in enumerate(bars):
            parts += _bar(one, start, scale, HEAD + n * row, row)
        return "\n".join([*parts, "</svg>"])

    def _legend(self, bars: tuple[Served, ...]) -> list[str]:
        scheduled = any(one.scheduled is not None for one in bars)
        samples = [("wait" if scheduled else "first", f'fill="{"url(#w)" if scheduled else ORANGE}"')]
        if scheduled:
            samples.append(("prefill", f'fill="{ORANGE}"'))
        samples.append(("decode", f'fill="{BLUE}"'))
        if any(not one.good and not one.given_up for one in bars):
            samples.append(("failed", f'fill="{VERMILION}"'))
        if any(one.given_up for one in bars):
            samples.append(("open", f'fill="{INK}"'))
        parts, left = [], float(LEFT_EDGE)
        for key, look in samples:
            word = self._say(f"doctor.gantt.{key}")
            parts.append(f'<rect x="{left:g}" y="32" width="22" height="11" stroke="{INK}" stroke-width="0.5" {look}/>')
            parts.append(f'<text x="{left + 28:g}" y="42">{escape(word)}</text>')
            left += 28 + 18 + sum(13 if ord(c) > 0x2E80 else 6.6 for c in word)
        return parts

    def _say(self, key: str, **facts: Any) -> str:
        return Message(key, **facts).in_language(self.language)


def _axis(seconds: float, scale: float, bottom: float, rows: str) -> list[str]:
    """Ticks in seconds, and below them what a row is."""
    step = step_above(seconds / 8)
    parts = []
    for n in range(int(seconds / step + 1e-9) + 1):
        at = LEFT_EDGE + n * step * scale
        parts.append(
            f'<line x1="{at:.1f}" y1="{HEAD - 6}" x2="{at:.1f}" y2="{bottom + 4:.1f}" stroke="{INK}" '
            'stroke-opacity="0.2"/>'
        )
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{label(n * step)}</text>')
    parts.append(f'<text x="{ACROSS - RIGHT_EDGE}" y="{bottom + 36:.1f}" text-anchor="end">s</text>')
    parts.append(f'<text x="{LEFT_EDGE}" y="{bottom + 36:.1f}" font-size="11">{escape(rows)}</text>')
    return parts


def _bar(one: Served, start: float, scale: float, top: float, row: float) -> list[str]:
    """The phases of a request: waiting, up to its first token, up to its last."""
    height = max(1.0, row * 0.8)

    def phase(begin: float, end: float, look: str, share: float = 1.0) -> str:
        x, width = LEFT_EDGE + (begin - start) * scale, max((end - begin) * scale, 0.3)
        y = top + height * (1 - share) / 2
        return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height * share:.1f}" {look}/>'

    broken = INK if one.given_up else VERMILION
    if one.first is None or one.last is None:
        end = one.last or one.end or one.sent
        return [phase(one.arrival, max(end, one.sent), f'fill="{BLUE if one.good else broken}"')]
    begin = one.scheduled if one.scheduled is not None else one.arrival
    parts = [phase(one.arrival, begin, 'fill="url(#w)"', 0.6)] if begin > one.arrival else []
    parts.append(phase(begin, one.first, f'fill="{ORANGE}"', 0.8))
    parts.append(phase(one.first, one.last, f'fill="{BLUE}"'))
    if one.error:
        parts.append(phase(one.last, max(one.end or 0.0, one.last), f'fill="{broken}"'))
    return parts
