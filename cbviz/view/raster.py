"""The grid as pixels: PNG for slides, GIF for animations. Needs Pillow, which the notebook extra installs.

Latin text uses the font that comes with Pillow. Chinese text needs a font of the machine: the first of `CHINESE_FONTS`
that is installed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbviz.checks import is_whole, shown
from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.limits import MOST_FRAME_PIXELS, MOST_PIXELS
from cbviz.messages import check_language, say
from cbviz.paths import new_file, write_whole
from cbviz.trace.trace import Trace
from cbviz.view.camera import Shot, shots
from cbviz.view.colours import DARK, LIGHT, Theme, colour_of, text_on
from cbviz.view.fonts import CHINESE_FONTS as CHINESE_FONTS
from cbviz.view.fonts import chinese_font
from cbviz.view.grid import check_rows, coarse, crowded, end_width, ends_of, numbered_every, row_gap, row_pitch
from cbviz.view.lane_info import policy_name
from cbviz.view.look import CLOSED, STATE_WORDS, WASTED, dense, ground_and_ink, labels
from cbviz.view.picture import run_words
from cbviz.view.ticks import whole_step

if TYPE_CHECKING:
    from PIL import Image

_LEFT, _RIGHT = 36, 20
MOST_FRAMES = 240


def png(
    traces: Sequence[Trace],
    path: str | os.PathLike[str],
    *,
    dark: bool = False,
    width: int = 1200,
    scale: int = 2,
    language: str = "en",
) -> Path:
    """Write the whole run as a PNG that is `width` × `scale` pixels wide, and return its path.

    Raises
    ------
    CbvizError
        No run, an invalid size or language, no Pillow, or no font for the text.
    """
    target = new_file(path)
    return write_whole(target, _saved(_draw(traces, True, dark, width, scale, language), format="PNG"))


def gif(
    traces: Sequence[Trace],
    path: str | os.PathLike[str],
    *,
    dark: bool = False,
    width: int = 900,
    seconds: float = 8.0,
    rate: int = 12,
    camera: bool = False,
    language: str = "en",
) -> Path:
    """Write the run as a looping GIF: iterations appear one after another, then the picture rests.

    Parameters
    ----------
    traces
        One or more runs, on one axis of iterations.
    path
        The file to write.
    dark
        Whether the page is dark.
    width
        Pixels.
    seconds
        How long it plays, above 0 and at most 120, before two seconds of rest.
    rate
        Frames per second, 1 to 30; at most 240 frames in all.
    camera
        Whether the board's directed camera shows it: near at first, then farther, to the whole (`cbviz.view.camera`).
    language
        One of `cbviz.messages.languages()`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CbvizError
        No run, an invalid number or language, no Pillow, or no font for the text.
    """
    if not is_whole(rate) or not 1 <= rate <= 30:
        raise CbvizError(f"rate must be a whole number of pictures a second from 1 to 30, not {shown(rate)}.")
    if not 0 < seconds <= 120:
        raise CbvizError(f"seconds must be above 0 and at most 120, not {shown(seconds)}.")
    target = new_file(path)
    count = max(2, min(MOST_FRAMES, int(seconds * rate)))
    _check_pixels(count * width * _height(traces), MOST_FRAME_PIXELS)
    whole, empty = (_draw(traces, run, dark, width, 1, language) for run in (True, False))
    film = list(shots(traces)) if camera else []

    def frame(share: float) -> Image.Image:
        if film:
            return _draw(traces, True, dark, width, 1, language, film[round(share * (len(film) - 1))])
        # The full picture and the empty page are drawn once; a frame is the page with part of the picture over it.
        return _until(whole, empty, traces, share, dark, width, language)

    # One palette, from the last frame, which has every colour: no flicker, and small differences between frames.
    image_module, _, _ = _pillow()
    last = frame(1.0).quantize(colors=128)

    def frames() -> Iterator[Image.Image]:  # one at a time: all at once would fill the memory
        for k in range(count):
            yield frame(k / (count - 1)).quantize(palette=last, dither=image_module.Dither.NONE)

    pictures = frames()
    first = next(pictures)
    durations = [round(1000 * seconds / count)] * (count - 1) + [2000]
    more = {"save_all": True, "append_images": pictures, "duration": durations, "loop": 0}
    return write_whole(target, _saved(first, format="GIF", **more))


def _saved(image: Any, **options: Any) -> bytes:
    """The bytes of an image's file."""
    data = io.BytesIO()
    image.save(data, **options)
    return data.getvalue()


def check_pillow() -> None:
    """Raise CbvizError if Pillow is missing."""
    _pillow()


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise CbvizError("PNG and GIF pictures need Pillow: pip install pillow. SVG needs nothing.") from None
    return Image, ImageDraw, ImageFont


def _draw(
    traces: Sequence[Trace], run: bool, dark: bool, width: int, scale: int, language: str, shot: Shot | None = None
) -> Image.Image:
    """The page, and if `run` is true, all lanes and their headings on it; by default all of the run."""
    if not traces:
        raise CbvizError("a picture needs at least one run.")
    for name, value, low, high in (("width", width, 240, 8000), ("scale", scale, 1, 4)):
        if not is_whole(value) or not low <= value <= high:
            raise CbvizError(f"{name} must be a whole number from {low} to {high}, not {shown(value)}.")
    check_language(language)
    check_rows(traces)
    image_module, draw_module, font_module = _pillow()
    theme = DARK if dark else LIGHT
    longest, _ = _scale(traces, width)
    shot = shot or Shot(longest, 0.0, longest * 1.01, None)
    unit = (width - _LEFT - _RIGHT) / shot.columns
    places = _places(traces)
    height = _height(traces)
    _check_pixels(width * height * scale**2, MOST_PIXELS)
    image: Image.Image = image_module.new("RGB", (width * scale, height * scale), theme.ground)
    pen = _Pen(draw_module.Draw(image), font_module, scale, theme)
    for lane, (trace, top) in enumerate(zip(traces, places, strict=True)):
        pitch = _pitch(trace, traces)
        pen.text(_LEFT, top - 18, policy_name(trace)[:48], theme.text, 16)
        for slot in range(0, trace.meta.slots, numbered_every(pitch)):
            pen.text(_LEFT - 8, top + slot * pitch + pitch / 2 - 1, str(slot), theme.faint, 11, "rm")
        if run:
            _heading(pen, trace, int(min(len(trace.iterations), shot.at)), top, width, language)
            _lane(pen, image_module, image, trace, top, unit, pitch, shot)
            if shot.refill and shot.refill.lane == lane:
                _caption(pen, trace, shot, top + (shot.refill.slot + 0.5) * pitch, unit, language)
        y = top + trace.meta.slots * pitch + 4
        step = whole_step(unit, 70)
        for value in range(-int(-shot.first // step) * step, int(min(longest, shot.first + shot.columns)) + 1, step):
            x = _LEFT + (value - shot.first) * unit
            pen.box(x, y, x + 1, y + 4, theme.faint)
            pen.text(x, y + 12, f"{value:,}", theme.faint, 11, "mm")
    _legend(pen, height - 30, language)
    return image


def _until(
    whole: Image.Image,
    empty: Image.Image,
    traces: Sequence[Trace],
    share: float,
    dark: bool,
    width: int,
    language: str,
) -> Image.Image:
    """The run as far as a share of its longest lane, at scale 1."""
    _, draw_module, font_module = _pillow()
    longest, unit = _scale(traces, width)
    frame = empty.copy()
    pen = _Pen(draw_module.Draw(frame), font_module, 1, DARK if dark else LIGHT)
    for trace, top in zip(traces, _places(traces), strict=True):
        n, high = len(trace.iterations), trace.meta.slots * _pitch(trace, traces)
        shown = min(n, longest * share)
        x = width if shown >= n else _LEFT + round(shown * unit)
        frame.paste(whole.crop((_LEFT, top - 4, x, top + high)), (_LEFT, top - 4))
        _heading(pen, trace, int(shown), top, width, language)
        if shown < n:
            pen.box(x, top - 2, x + 2, top + high, pen.theme.cursor)
    return frame


def _scale(traces: Sequence[Trace], width: int) -> tuple[int, float]:
    """The length of the longest run in iterations, and px per iteration."""
    longest = max(1, *(len(trace.iterations) for trace in traces))
    return longest, (width - _LEFT - _RIGHT) / (longest * 1.01)


def _height(traces: Sequence[Trace]) -> int:
    """Height of the page in px."""
    return _places(traces)[-1] + traces[-1].meta.slots * _pitch(traces[-1], traces) + 68


def _check_pixels(pixels: int, most: int) -> None:
    """Raise CbvizError for a picture that would take too much memory or time."""
    if pixels > most:
        raise CbvizError(
            f"this picture is too large: {pixels:,} pixels of at most {most:,}; reduce the width, scale, seconds or "
            "rate, or draw fewer slots."
        )


def _pitch(trace: Trace, traces: Sequence[Trace]) -> int:
    return int(row_pitch(trace.meta.slots, len(traces)))


def _places(traces: Sequence[Trace]) -> list[int]:
    """The y at which the rows of each lane begin."""
    places, y = [], 40
    for trace in traces:
        places.append(y)
        y += trace.meta.slots * _pitch(trace, traces) + 64
    return places


def _heading(pen: _Pen, trace: Trace, shown: int, top: int, width: int, language: str) -> None:
    words = run_words(trace, shown, _occupancy(trace, shown), language)
    pen.text(width - _RIGHT, top - 18, words, pen.theme.faint, 13, "rm")


def _occupancy(trace: Trace, shown: int) -> float:
    its = trace.iterations
    useful = int((its.prefill_slots[:shown] + its.decode_slots[:shown]).sum())
    return useful / (shown * trace.meta.slots - int(trace.closed_slots[:shown].sum())) if shown else 0.0


class _Pen:
    """Draws in CSS pixels on an image with `scale` device pixels to each."""

    def __init__(self, draw: Any, fonts: Any, scale: int, theme: Theme) -> None:
        self.draw, self.fonts, self.scale, self.theme = draw, fonts, scale, theme
        self.loaded: dict[tuple[int, bool], Any] = {}

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: str) -> None:
        s = self.scale
        left, right = round(x0 * s), max(round(x0 * s), round(x1 * s) - 1)
        self.draw.rectangle((left, round(y0 * s), right, max(round(y0 * s), round(y1 * s) - 1)), fill=fill)

    def text(self, x: float, y: float, words: str, fill: str, size: int, anchor: str = "lm") -> None:
        clean = "".join(c if c.isprintable() else " " for c in words)
        chinese = any(ord(c) > 0x2E80 for c in clean)
        if (size, chinese) not in self.loaded:
            pixels = size * self.scale
            made = chinese_font(self.fonts, pixels) if chinese else self.fonts.load_default(size=pixels)
            self.loaded[size, chinese] = made
        place = (x * self.scale, y * self.scale)
        self.draw.text(place, clean, fill=fill, font=self.loaded[size, chinese], anchor=anchor)

    def cell(self, x0: float, y: float, x1: float, high: float, state: int, request: int) -> None:
        """One span with its state's texture."""
        ground, ink = ground_and_ink(state, colour_of(request), self.theme)
        self.box(x0, y, x1, y + high, ground)
        if state == State.IDLE and high >= 4:
            self.box(x0, y + high - 1, x1, y + high, ink)
        elif state == State.STALLED:
            self.box(x0, y + high / 2 - 1, x1, y + high / 2 + 1, ink)
        elif state == State.RECOMPUTE:
            x = x0 + 1
            while x < x1:
                self.box(x, y, min(x + 2, x1), y + high, ink)
                x += 6
        elif state in (State.HELD, WASTED):
            size = 1 if state == State.HELD else 1.5
            start = int(x0 / 6) * 6 + 3
            for x in range(start, int(x1) + 1, 6):
                for dy in range(3, int(high), 6):
                    if x0 <= x < x1 - 1:
                        self.box(x, y + dy, x + size, y + dy + size, ink)
        elif state == State.PREFILL:
            s = self.scale
            step = 6
            for offset in range(-int(high), int(x1 - x0) + 1, step):
                a, b = max(0, offset), min(x1 - x0 - 1, offset + high - 1)
                if b > a:
                    ends = ((x0 + a) * s, (y + a - offset) * s, (x0 + b) * s, (y + b - offset) * s)
                    self.draw.line(ends, fill=ink, width=max(1, round(1.5 * s)))


def _lane(
    pen: _Pen, image_module: Any, image: Image.Image, trace: Trace, top: int, unit: float, pitch: int, shot: Shot
) -> None:
    high = pitch - row_gap(pitch)
    slots, n = trace.meta.slots, len(trace.iterations)
    shown = min(n, shot.at)
    x = _LEFT + (shown - shot.first) * unit
    if shown < n:
        pen.box(x, top - 2, x + 2, top + slots * pitch, pen.theme.cursor)
    if shown <= shot.first:
        return
    if crowded(trace, unit):
        columns = max(1, round(x - _LEFT))
        cells = image_module.fromarray(coarse(trace, columns, high, shown, pen.theme, shot.first)[..., :3].copy())
        for slot in range(slots):
            row = cells.crop((0, slot * high, columns, (slot + 1) * high))
            row = row.resize((columns * pen.scale, high * pen.scale), image_module.Resampling.NEAREST)
            image.paste(row, (_LEFT * pen.scale, (top + slot * pitch) * pen.scale))
    else:
        _spans(pen, trace, top, unit, pitch, high, shot)
    x += 1
    for k in range(0, slots * pitch - 2, 3) if shown >= n else ():
        pen.box(x + (3 if k // 3 % 2 else 0), top + k, x + (6 if k // 3 % 2 else 3), top + k + 3, pen.theme.end)


def _caption(pen: _Pen, trace: Trace, shot: Shot, y: float, unit: float, language: str) -> None:
    """What has just happened in a slot, right of the cursor."""
    assert shot.refill is not None
    called = labels(trace)[shot.refill.request]
    words = say(language, "board.caption_refill", {"slot": shot.refill.slot, "id": called})
    x = _LEFT + (shot.at - shot.first) * unit + 10
    wide = sum(13 if ord(c) > 0x2E80 else 7.2 for c in words) + 18
    pen.box(x, y - 12, x + wide, y + 11, pen.theme.text)
    pen.text(x + 9, y, words, pen.theme.ground, 13)


def _spans(pen: _Pen, trace: Trace, top: int, unit: float, pitch: int, high: int, shot: Shot) -> None:
    state, request = dense(trace)
    ends = ends_of(trace)
    mark = end_width(unit)
    called = labels(trace)
    for slot in range(trace.meta.slots):
        cut = (state[slot, 1:] != state[slot, :-1]) | (request[slot, 1:] != request[slot, :-1])
        edges = [0, *(cut.nonzero()[0] + 1).tolist(), state.shape[1]]
        y = top + slot * pitch
        for first, end in pairwise(edges):
            what, who = int(state[slot, first]), int(request[slot, first])
            x0, x1 = (_LEFT + (min(max(i, shot.first), shot.at) - shot.first) * unit for i in (first, end))
            if what == CLOSED or x1 <= x0:
                continue
            pen.cell(x0, y, x1, high, what, who)
            if what in (State.PREFILL, State.DECODE, State.RECOMPUTE) and (who, end - 1) in ends and end <= shot.at:
                pen.box(x1 - mark, y, x1, y + high, pen.theme.end)
            if what == State.DECODE and high >= 12 and x1 - x0 - mark >= 6.6 * len(called[who]) + 5:
                pen.text((x0 + x1) / 2, y + high / 2, called[who], text_on(colour_of(who)), 11, "mm")


def _legend(pen: _Pen, y: int, language: str) -> None:
    x = float(_LEFT)
    for state in (State.PREFILL, State.DECODE, State.HELD, State.STALLED, State.RECOMPUTE, State.IDLE, WASTED):
        words = say(language, f"board.{STATE_WORDS[state]}").replace("\uff1a", ":").split(":")[0]
        pen.cell(x, y, x + 20, 13, state, 0)
        pen.text(x + 26, y + 7, words, pen.theme.faint, 12)
        x += 26 + sum(12 if ord(c) > 0x2E80 else 6.4 for c in words) + 18
