"""Colours, textures and words of the six states, for pictures drawn by Python.

The same values as in `js/theme.js` (a test compares the two), so that a saved picture and the live board look alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbviz.trace.check import check_size
from cbviz.trace.events import State
from cbviz.trace.trace import Trace

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#9A7BC0", "#B5A300")
"""Request colours, request id modulo 8: Okabe and Ito's (2008), the yellow darkened so that it holds on white, and a
violet."""

WASTED = 6
"""Pictures tell idle slots apart: `State.IDLE` while nobody waits, this while somebody does."""

CLOSED = 7
"""And this where somebody has closed the slot (`Trace.open_slots`): nothing is drawn there."""


@dataclass(frozen=True, slots=True)
class Theme:
    """What is not a request's colour. `spare`, `held`, `wasted`: ground and an ink that stands out at 3:1 at least."""

    ground: str
    text: str
    faint: str
    line: str
    spare: tuple[str, str]
    held: tuple[str, str]
    wasted: tuple[str, str]
    end: str
    cursor: str


LIGHT = Theme(
    ground="#ffffff",
    text="#1b1f24",
    faint="#59636e",
    line="#d1d9e0",
    spare=("#edf0f3", "#7f8993"),
    held=("#d5dae0", "#68727d"),
    wasted=("#fdf1f0", "#c0343f"),
    end="#15181c",
    cursor="#d1242f",
)
DARK = Theme(
    ground="#111418",
    text="#e8ecf1",
    faint="#a2adb9",
    line="#39424d",
    spare=("#1d232a", "#74808c"),
    held=("#414a55", "#b3bdc8"),
    wasted=("#33191c", "#ff7b72"),
    end="#f2f5f8",
    cursor="#ff6b6b",
)

STATE_WORDS = {
    "en": (
        "idle, nobody waits",
        "prefill",
        "decode",
        "recompute",
        "held: finished, still computed",
        "stalled",
        "idle, someone waits",
        "closed: nobody may enter",
    ),
    "zh": (
        "空闲，无人等待",
        "预填充",
        "解码",
        "重计算",
        "空算：已结束，仍在计算",
        "停顿",
        "空闲，有请求等待",
        "已关闭：不再接纳请求",
    ),
}
"""By `State`, then `WASTED` and `CLOSED`."""


def colour_of(request: int) -> str:
    """A request keeps its colour everywhere."""
    return PALETTE[request % len(PALETTE)]


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers from 0 to 255."""
    value = int(colour[1:], 16)
    return value >> 16, (value >> 8) & 255, value & 255


def luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = [part / 255 for part in rgb(colour)]
    r, g, b = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    """Contrast ratio, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def mix(a: str, b: str, share: float) -> str:
    """`share` of b in a."""
    parts = [x * (1 - share) + y * share for x, y in zip(rgb(a), rgb(b), strict=True)]
    # Half away from zero, as JavaScript rounds.
    return "#" + "".join(f"{int(part + 0.5):02x}" for part in parts)


def text_on(colour: str) -> str:
    """White where it reaches 4.5:1 on this colour, else near-black."""
    return "#ffffff" if contrast(colour, "#ffffff") >= 4.5 else "#15181c"


def ink_on(colour: str) -> str:
    """The gentlest shade that stands out from a colour at 3.1:1: lighter if white allows it, else darker."""
    towards = "#ffffff" if contrast(colour, "#ffffff") >= 3.6 else "#000000"
    for step in range(40):
        ink = mix(colour, towards, 0.2 + 0.02 * step)
        if contrast(ink, colour) >= 3.1:
            return ink
    return towards


def stalled_ground(colour: str, theme: Theme) -> str:
    """A request's colour, thinned into the page."""
    return mix(theme.ground, colour, 0.28)


def stalled_ink(colour: str, theme: Theme) -> str:
    """The bar across a stalled cell."""
    ground = stalled_ground(colour, theme)
    towards = "#000000" if luminance(ground) > 0.3 else "#ffffff"
    for step in range(25):
        ink = mix(colour, towards, 0.04 * step)
        if contrast(ink, ground) >= 3.1:
            return ink
    return towards


def dense(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """(state, request), each [slots, iterations]: every cell, idle ones apart by whether requests waited; -1 for none.

    Raises TraceError for a run that is too large to be drawn.
    """
    n, slots = len(trace.iterations), trace.meta.slots
    check_size(slots, n)
    idle = np.where(trace.iterations.waiting > 0, WASTED, State.IDLE).astype(np.uint8)
    state = np.repeat(idle[None], slots, axis=0)
    request = np.full((slots, n), -1, dtype=np.int32)
    spans = trace.spans
    for slot, who, what, first, end in zip(spans.slot, spans.request, spans.state, spans.first, spans.end, strict=True):
        state[slot, first:end] = what
        request[slot, first:end] = who
    closed = trace.closed_slots
    if closed.any():
        empty = request < 0
        rank = np.cumsum(empty, axis=0)  # 1 for the lowest empty slot of an iteration
        state[empty & (rank > (empty.sum(axis=0) - closed)[None])] = CLOSED
    return state, request
