"""Recorded runs on a board: in a notebook without a widget, as a page, as pictures."""

from __future__ import annotations

import os
from pathlib import Path

from cbviz.board import picture, player, raster
from cbviz.board.language import chosen
from cbviz.board.summary import Finish
from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.paths import new_file, write_whole
from cbviz.trace.trace import Trace


class Board:
    """One to four recorded runs, one above the other, with the whole player. Files are written whole or not at all.

    In a notebook it shows the player where scripts may run and a picture where they may not; it needs no kernel
    afterwards, so a saved notebook keeps it.

    Parameters
    ----------
    traces
        One to four runs.
    summary
        The measured result; by default what the traces themselves say.
    title
        Shown as text.
    language
        "en" or "zh"; None is the one that `cbviz.board.language.speak` set, at first English. The page has a switch.

    Raises
    ------
    CbvizError
        Nothing to show, an unknown language, or arguments of other types.
    """

    def __init__(
        self, *traces: Trace, summary: Finish | None = None, title: str = "Run", language: str | None = None
    ) -> None:
        self.language = chosen(language)
        player.check(traces, self.language)
        if summary is not None and not isinstance(summary, Finish):
            raise CbvizError(f"summary must be a Finish, or None, not {shown(summary)}.")
        if not isinstance(title, str):
            raise CbvizError(f"title must be a text, not {shown(title)}.")
        self.traces = traces
        self.summary = summary
        self.title = title.encode("utf-8", "backslashreplace").decode("utf-8")

    def __repr__(self) -> str:
        return player.text(self.traces)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return player.mimebundle(self.traces, self.summary, title=self.title, language=self.language)

    def to_html(self, path: str | os.PathLike[str], *, autoplay: bool = True) -> Path:
        """Write the player as one page that needs no kernel and no network. Returns the path."""
        target = new_file(path)
        page = player.html(self.traces, self.summary, title=self.title, language=self.language, autoplay=autoplay)
        return write_whole(target, page)

    def to_svg(self, path: str | os.PathLike[str], *, dark: bool = False, width: int = 1000) -> Path:
        """Write the picture as SVG. Returns the path."""
        target = new_file(path)
        return write_whole(target, picture.svg(self.traces, dark=dark, width=width, language=self.language))

    def to_png(self, path: str | os.PathLike[str], *, dark: bool = False, width: int = 1200, scale: int = 2) -> Path:
        """Write the picture as PNG, `scale` device pixels to each of `width`. Needs Pillow. Returns the path."""
        return raster.png(self.traces, path, dark=dark, width=width, scale=scale, language=self.language)

    def to_gif(
        self,
        path: str | os.PathLike[str],
        *,
        dark: bool = False,
        width: int = 900,
        seconds: float = 8.0,
        rate: int = 12,
    ) -> Path:
        """Write a looping GIF for slides: it plays for `seconds` at `rate` pictures a second. Needs Pillow."""
        return raster.gif(self.traces, path, dark=dark, width=width, seconds=seconds, rate=rate, language=self.language)
