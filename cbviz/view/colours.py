"""Colours for every picture: a request's, a theme's, and inks that stand out from them.

The values are those of `js/colours.js`, which the live board uses too. The arithmetic on them is that of `js/theme.js`;
a test compares the results.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

_COLOURS = json.loads((Path(__file__).parent / "js/colours.js").read_text("utf-8").split("COLOURS = ")[1].strip("; \n"))

PALETTE: tuple[str, ...] = tuple(_COLOURS["palette"])
"""Request colours, by request id: Okabe and Ito's seven (2008), the yellow darkened so that it holds on white. Seven
shares no factor with usual numbers of slots, so the next request of a row is of another colour."""

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = PALETTE[:6]
VIOLET = "#9A7BC0"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Of a chart's lines and bars: Okabe and Ito's without black and yellow, which vanish on one of the two grounds."""

INK = "#747a82"
"""A grey that reads on white and on dark pages: lines and texts of pictures without a ground."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours other than the requests'. `spare`, `held`, `wasted`: ground, and an ink at a contrast of 3:1 or more."""

    ground: str
    text: str
    faint: str
    line: str
    spare: tuple[str, str]
    held: tuple[str, str]
    wasted: tuple[str, str]
    end: str
    cursor: str

    @classmethod
    def named(cls, name: str) -> Theme:
        """The theme "light" or "dark"."""
        given: dict[str, Any] = _COLOURS["themes"][name]
        plain: dict[str, Any] = {}
        for field in fields(cls):
            value = given[field.name]
            plain[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**plain)


LIGHT, DARK = Theme.named("light"), Theme.named("dark")


def colour_of(request: int) -> str:
    """The colour of a request, the same everywhere."""
    return PALETTE[request % len(PALETTE)]


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers from 0 to 255."""
    value = int(colour[1:], 16)
    return value >> 16, (value >> 8) & 255, value & 255


def thin(colour: str, share: float) -> str:
    """The colour as a veil over whatever ground the page has."""
    r, g, b = rgb(colour)
    return f"rgba({r},{g},{b},{share:g})"


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
    """The mildest shade of a colour with a contrast of 3.1:1 to it: lighter if white allows it, else darker."""
    towards = "#ffffff" if contrast(colour, "#ffffff") >= 3.6 else "#000000"
    for step in range(40):
        ink = mix(colour, towards, 0.2 + 0.02 * step)
        if contrast(ink, colour) >= 3.1:
            return ink
    return towards


def stalled_ground(colour: str, theme: Theme) -> str:
    """A request's colour, mixed with the page's background."""
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
