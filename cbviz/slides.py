"""Pictures for slides: every recorded race as SVG, PNG and a looping GIF, filmed by the board's directed camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cbviz.paths import Named, make_folder, write_whole
from cbviz.view.language import chosen
from cbviz.view.raster import check_pillow

SECONDS, RATE = 18.0, 8
"""Seconds of a GIF, about as many as the board takes for a race, and its frames a second."""


def export(folder: Named, *, language: str = "en", dark: bool = False) -> Iterator[Path]:
    """Write NAME.svg, NAME.png and NAME.gif of every recording into `folder`, which may be new; yields each path.

    Last comes slides.md, a deck of them with speaker notes (`cbviz.speaker_notes`).

    Every picture is written completely or not at all. Raises CbvizError if the folder is a file or cannot be written,
    the language is unknown, or Pillow is missing: before the first picture if possible.
    """
    from cbviz.speaker_notes import deck
    from cbviz.trace import RECORDINGS, recorded
    from cbviz.view import Board

    spoken = chosen(language)
    check_pillow()
    target = make_folder(folder)
    for name in RECORDINGS:
        board = Board(*recorded(name), title=name, language=spoken)
        yield board.to_svg(target / f"{name}.svg", dark=dark)
        yield board.to_png(target / f"{name}.png", dark=dark)
        yield board.to_gif(target / f"{name}.gif", dark=dark, seconds=SECONDS, rate=RATE, camera=True)
    yield write_whole(target / "slides.md", deck(spoken))
