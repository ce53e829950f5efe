"""The grid as an SVG picture: for saved notebooks, slides and papers.

We write the SVG ourselves, so that its bytes depend only on the runs. Runs with more spans than a picture can hold are
drawn as columns of several iterations, in which every state keeps its share of the area.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from cbviz.checks import is_whole, shown
from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.measure.lane_times import two_digits, worth_showing
from cbviz.measure.rounding import percent
from cbviz.messages import check_language, say
from cbviz.trace.trace import MARK_KINDS, Trace
from cbviz.view.colours import DARK, LIGHT, PALETTE, Theme, colour_of, stalled_ground, stalled_ink, text_on
from cbviz.view.grid import (
    check_rows,
    coarse,
    crowded,
    end_width,
    ends_of,
    numbered_every,
    row_gap,
    row_pitch,
)
from cbviz.view.lane_info import policy_name
from cbviz.view.look import STATE_WORDS, WASTED, bars, dense, ground_and_ink, labels, rejected
from cbviz.view.ticks import whole_step

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', 'Noto Sans SC', sans-serif"
_PREEMPT = MARK_KINDS.index("preempt")
_REJECTED = 9
"""A pattern that is no state: the share of a cell whose drafts were rejected."""
_LEFT, _RIGHT, _TOP = 36, 16, 14


def svg(traces: Sequence[Trace], *, dark: bool = False, width: int = 1000, language: str = "en") -> str:
    """The lanes, stacked on one axis of iterations, as an SVG document.

    Parameters
    ----------
    traces
        One or more runs.
    dark
        Whether the page is dark.
    width
        Pixels, 240 to 20,000.
    language
        One of `cbviz.messages.languages()`.

    Returns
    -------
    str
        The same text for the same runs.

    Raises
    ------
    CbvizError
        No trace, or an invalid width or language.
    """
    if not traces:
        raise CbvizError("a picture needs at least one run.")
    if not is_whole(width) or not 240 <= width <= 20_000:
        raise CbvizError(f"width must be a whole number of pixels from 240 to 20000, not {shown(width)}.")
    check_language(language)
    check_rows(traces)
    theme = DARK if dark else LIGHT
    longest = max(1, *(len(trace.iterations) for trace in traces))
    scale = (width - _LEFT - _RIGHT) / (longest * 1.01)
    used: set[tuple[int, str]] = set()
    body: list[str] = []
    y = float(_TOP)
    for trace in traces:
        pitch = row_pitch(trace.meta.slots, len(traces))
        body.append(_heading(trace, theme, y, language, width))
        y += 26
        body.append(f'<g transform="translate({_LEFT} {_n(y)})">')
        body.append(_numbers(trace.meta.slots, pitch, theme))
        if crowded(trace, scale):
            body.append(_columns(trace, scale, pitch, theme))
        else:
            body.append(_spans(trace, scale, pitch, theme, used))
        body.append(_finish_line(trace, scale, pitch, theme))
        body.append("</g>")
        y += trace.meta.slots * pitch + 4
        body.append(_axis(scale, longest, y, theme))
        y += 34
    legend, height = _legend(theme, y, width, language, used)
    body.append(legend)
    height += 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_n(height)}" width="{width}" '
        f'height="{_n(height)}" font-family="{escape(FONT, {chr(34): "&quot;"})}" role="img">'
        f"<defs>{''.join(_pattern(state, colour, theme) for state, colour in sorted(used))}</defs>"
        f'<rect width="100%" height="100%" fill="{theme.ground}"/>{"".join(body)}</svg>'
    )


def run_words(trace: Trace, iterations: int, occupancy: float, language: str) -> str:
    """A run in one line: iterations, seconds with two digits where they are worth showing, and occupancy."""
    facts = {"n": iterations, "count": f"{iterations:,}", "occupancy": percent(occupancy)}
    if not worth_showing(trace):
        return say(language, "board.picture_count", facts)
    seconds = float(trace.iterations.t_end[iterations - 1]) if iterations else 0.0
    spent = say(language, "board.time_s", {"n": two_digits(seconds)})
    return say(language, "board.picture_line", {**facts, "n": facts["count"], "seconds": spent})


def _n(value: float) -> str:
    """A number in as few characters as possible."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(x: float, y: float, words: str, fill: str, size: int, extra: str = "") -> str:
    clean = "".join(c if c.isprintable() else " " for c in words)
    return f'<text x="{_n(x)}" y="{_n(y)}" fill="{fill}" font-size="{size}"{extra}>{escape(clean)}</text>'


def _heading(trace: Trace, theme: Theme, y: float, language: str, width: int) -> str:
    words = run_words(trace, len(trace.iterations), trace.occupancy, language)
    name = policy_name(trace)
    name = name if len(name) <= 48 else name[:47] + "…"
    return _text(_LEFT, y + 12, name, theme.text, 16, ' font-weight="700"') + _text(
        width - _RIGHT, y + 12, words, theme.faint, 13, ' text-anchor="end"'
    )


def _numbers(slots: int, pitch: float, theme: Theme) -> str:
    rows = [
        _text(-8, slot * pitch + pitch / 2 + 3, str(slot), theme.faint, 11, ' text-anchor="end"')
        for slot in range(0, slots, numbered_every(pitch))
    ]
    return "".join(rows)


def _fill(state: int, request: int, theme: Theme, used: set[tuple[int, str]]) -> str:
    if state == State.DECODE:
        return colour_of(request)
    if state == State.IDLE:
        return theme.spare[0]
    if state == State.STALLED:
        return stalled_ground(colour_of(request), theme)
    colour = "" if state in (State.HELD, WASTED, _REJECTED) else colour_of(request)
    used.add((state, colour))
    return f"url(#{_pattern_name(state, colour)})"


def _pattern_name(state: int, colour: str) -> str:
    return f"p{state}{colour[1:]}"


def _pattern(state: int, colour: str, theme: Theme) -> str:
    ground, ink = theme.held if state == _REJECTED else ground_and_ink(state, colour, theme)
    if state == State.HELD:
        art = f'<path d="M1.6 1.6L4.4 4.4M4.4 1.6L1.6 4.4" stroke="{ink}" stroke-width=".9"/>'
    elif state == WASTED:
        art = f'<circle cx="3" cy="3" r="1.15" fill="{ink}"/>'
    elif state == State.PREFILL:
        art = f'<path d="M-1 -1L7 7M-1 5L1 7M5 -1L7 1" stroke="{ink}" stroke-width="1.5"/>'
    elif state == _REJECTED:
        art = f'<path d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5" stroke="{ink}" stroke-width="1.2"/>'
    else:
        art = f'<rect x="1" width="2" height="6" fill="{ink}"/>'
    return (
        f'<pattern id="{_pattern_name(state, colour)}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{ground}"/>{art}</pattern>'
    )


def _idle_runs(trace: Trace) -> list[tuple[int, int, int, int]]:
    """(slot, first, end, state) of idle spans, split by whether a request waited."""
    state, _ = dense(trace)
    runs = []
    for slot, row in enumerate(state):
        cuts = np.flatnonzero(np.diff(row)) + 1
        for first, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(row)], strict=True):
            if end > first and row[first] in (State.IDLE, WASTED):
                runs.append((slot, first, end, int(row[first])))
    return runs


def _spans(trace: Trace, scale: float, pitch: float, theme: Theme, used: set[tuple[int, str]]) -> str:
    high = pitch - row_gap(pitch)
    out = []

    def cell(slot: int, first: float, end: float, fill: str, more: str = "") -> str:
        return (
            f'<rect x="{_n(first * scale)}" y="{_n(slot * pitch)}" width="{_n((end - first) * scale)}" '
            f'height="{_n(high)}" fill="{fill}"{more}/>'
        )

    for slot, first, end, state in _idle_runs(trace):
        out.append(cell(slot, first, end, _fill(state, -1, theme, used)))
        if state == State.IDLE and high >= 4:
            foot = _n(slot * pitch + high - 1)
            wide = _n((end - first) * scale)
            out.append(f'<rect x="{_n(first * scale)}" y="{foot}" width="{wide}" height="1" fill="{theme.spare[1]}"/>')
    ends = ends_of(trace)
    mark = end_width(scale)
    called = labels(trace)
    names = []
    for slot, who, what, first, end in bars(trace):
        soft = ' rx="1.5"' if what == State.DECODE and pitch >= 14 and (end - first) * scale > 7 else ""
        out.append(cell(slot, first, end, _fill(what, who, theme, used), soft))
        if what == State.STALLED:
            y = slot * pitch + high / 2 - 1
            out.append(
                f'<rect x="{_n(first * scale)}" y="{_n(y)}" width="{_n((end - first) * scale)}" height="2" '
                f'fill="{stalled_ink(colour_of(who), theme)}"/>'
            )
        if what in (State.PREFILL, State.DECODE, State.RECOMPUTE) and (who, end - 1) in ends:
            out.append(
                f'<rect x="{_n(end * scale - mark)}" y="{_n(slot * pitch)}" width="{_n(mark)}" height="{_n(high)}" '
                f'fill="{theme.end}"/>'
            )
        label = called[who]
        if what == State.DECODE and pitch >= 14 and (end - first) * scale - mark >= 6.6 * len(label) + 5:
            names.append(
                _text(
                    (first + end) * scale / 2,
                    slot * pitch + high / 2 + 4,
                    label,
                    text_on(colour_of(who)),
                    11,
                    ' font-weight="600" text-anchor="middle"',
                )
            )
    for slot, iteration, share in rejected(trace):
        used.add((_REJECTED, ""))
        y, tall = slot * pitch + high * (1 - share), high * share
        out.append(
            f'<rect x="{_n(iteration * scale)}" y="{_n(y)}" width="{_n(scale)}" height="{_n(tall)}" '
            f'fill="url(#{_pattern_name(_REJECTED, "")})"/>'
        )
    marks = trace.marks
    for kind, iteration, slot in zip(marks.kind, marks.iteration, marks.slot, strict=True):
        if kind == _PREEMPT and slot >= 0:
            tooth = high / 4
            out += [
                f'<rect x="{_n(iteration * scale - mark)}" y="{_n(slot * pitch + t * tooth)}" width="{_n(mark)}" '
                f'height="{_n(tooth)}" fill="{theme.cursor}"/>'
                for t in (0, 2)
            ]
    return "".join(out + names)


def png(pixels: np.ndarray) -> bytes:
    """uint8 [height, width, 4] as a PNG file (RFC 2083), the same bytes for the same pixels."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 4)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def _columns(trace: Trace, scale: float, pitch: float, theme: Theme) -> str:
    slots = trace.meta.slots
    columns = max(1, round(len(trace.iterations) * scale))
    gap = row_gap(pitch)
    parts = int(pitch) - gap
    pixels = coarse(trace, columns, parts, max(len(trace.iterations), 1), theme).reshape(slots, parts, columns, 4)
    ruled = np.concatenate([pixels, np.zeros((slots, gap, columns, 4), np.uint8)], axis=1)
    data = base64.b64encode(png(ruled.reshape(-1, columns, 4))).decode("ascii")
    return (
        f'<image width="{columns}" height="{_n(slots * pitch)}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    )


def _finish_line(trace: Trace, scale: float, pitch: float, theme: Theme) -> str:
    x, high = len(trace.iterations) * scale, trace.meta.slots * pitch
    if not len(trace.iterations):
        return ""
    return (
        f'<path d="M{_n(x + 1.5)} 0V{_n(high)}" stroke="{theme.end}" stroke-width="3" stroke-dasharray="3 3"/>'
        f'<path d="M{_n(x + 4.5)} 3V{_n(high)}" stroke="{theme.end}" stroke-width="3" stroke-dasharray="3 3"/>'
    )


def _axis(scale: float, longest: int, y: float, theme: Theme) -> str:
    out = []
    for value in range(0, longest + 1, whole_step(scale, 70)):
        x = _LEFT + value * scale
        out.append(f'<path d="M{_n(x)} {_n(y)}v4" stroke="{theme.faint}"/>')
        out.append(_text(x, y + 16, f"{value:,}", theme.faint, 11, ' text-anchor="middle"'))
    return "".join(out)


def _legend(theme: Theme, y: float, width: int, language: str, used: set[tuple[int, str]]) -> tuple[str, float]:
    """The legend, wrapped at the width, and the y at which it ends."""
    colour = PALETTE[0]
    out = []
    x = float(_LEFT)
    order = (State.PREFILL, State.DECODE, State.HELD, State.STALLED, State.RECOMPUTE, State.IDLE, WASTED)
    drafts = [_REJECTED] * ((_REJECTED, "") in used)
    for state in (*order, *drafts):
        words = say(language, f"board.{'rejected' if state == _REJECTED else STATE_WORDS[state]}")
        wide = 32 + sum(12 if ord(c) > 0x2E80 else 6.3 for c in words) + 14
        if x + wide > width - _RIGHT and x > _LEFT:
            x, y = float(_LEFT), y + 20
        fill = colour if state == State.DECODE else _fill(state, 0, theme, used)
        out.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="20" height="13" rx="2" fill="{fill}"/>')
        if state == State.IDLE:
            out.append(f'<rect x="{_n(x)}" y="{_n(y + 12)}" width="20" height="1" fill="{theme.spare[1]}"/>')
        if state == State.STALLED:
            ink = stalled_ink(colour, theme)
            out.append(f'<rect x="{_n(x)}" y="{_n(y + 5.5)}" width="20" height="2" fill="{ink}"/>')
        out.append(_text(x + 27, y + 11, words, theme.faint, 12))
        x += wide
    if x + 60 > width - _RIGHT:
        x, y = float(_LEFT), y + 20
    out.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="3" height="13" fill="{theme.end}"/>')
    out.append(_text(x + 9, y + 11, "END", theme.faint, 12))
    return "".join(out), y + 16
