"""Recorded runs on a board: in a notebook without a widget, as a page, or as pictures."""

from __future__ import annotations

import os
from pathlib import Path

from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.measure.standings import Compare
from cbviz.messages import Message
from cbviz.paths import new_file, write_whole
from cbviz.trace.trace import Trace
from cbviz.view import picture, player, raster
from cbviz.view.language import RUN, chosen
from cbviz.view.summary import Outcome


class Board:
    """One to four recorded runs, stacked, with the full player.

    A notebook shows the player if scripts may run, else a picture. It needs no kernel afterwards, so a saved notebook
    keeps it. Files are written completely or not at all.

    Parameters
    ----------
    traces
        One to four runs.
    summary
        The measured result; by default it is computed from the traces.
    title
        Shown as text.
    language
        "en" or "zh"; None means the one set by `cbviz.view.language.speak`, initially English. The page has a switch.
    compare
        What the result compares: "iterations", "seconds", "longest_gap" or "ttft" (see `cbviz.measure.verdict`).

    Raises
    ------
    CbvizError
        Nothing to show, an unknown language, or an argument of the wrong type.

    Examples
    --------
    >>> import cbviz
    >>> Board(*cbviz.recorded("smollm2-8"))  # doctest: +ELLIPSIS
    static: 631 iterations on 8 slots, occupancy 31.1%, 48/48 requests, in the order 7 5 3 ...
    continuous: 288 iterations on 8 slots, occupancy 65.9%, 48/48 requests, in the order 7 5 3 ...
    """

    def __init__(
        self,
        *traces: Trace,
        summary: Outcome | None = None,
        title: str = RUN,
        language: str | None = None,
        compare: Compare = "iterations",
    ) -> None:
        self.language = chosen(language)
        player.check(traces, self.language)
        if summary is not None and not isinstance(summary, Outcome):
            raise CbvizError(f"summary must be a Outcome, or None, not {shown(summary)}.")
        if not isinstance(title, str):
            raise CbvizError(f"title must be a text, not {shown(title)}.")
        self.traces = traces
        self.summary = Outcome.of(*traces, compare=compare) if summary is None else summary
        written = title.encode("utf-8", "backslashreplace").decode("utf-8")
        self.title = title if isinstance(title, Message) else written

    def __repr__(self) -> str:
        return player.text(self.traces)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return player.mimebundle(self.traces, self.summary, title=self.title, language=self.language)

    def to_html(self, path: str | os.PathLike[str], *, autoplay: bool = True) -> Path:
        """Write the player as one page that needs no kernel and no network.

        Parameters
        ----------
        path
            The file to write.
        autoplay
            Whether to play when the page opens.

        Returns
        -------
        Path
            The file written.
        """
        target = new_file(path)
        page = player.html(self.traces, self.summary, title=self.title, language=self.language, autoplay=autoplay)
        return write_whole(target, page)

    def to_svg(self, path: str | os.PathLike[str], *, dark: bool = False, width: int = 1000) -> Path:
        """Write the picture as SVG.

        Parameters
        ----------
        path
            The file to write.
        dark
            Whether for a dark page.
        width
            Pixels.

        Returns
        -------
        Path
            The file written.
        """
        target = new_file(path)
        return write_whole(target, picture.svg(self.traces, dark=dark, width=width, language=self.language))

    def to_png(self, path: str | os.PathLike[str], *, dark: bool = False, width: int = 1200, scale: int = 2) -> Path:
        """Write the picture as PNG. Needs Pillow.

        Parameters
        ----------
        path
            The file to write.
        dark
            Whether for a dark page.
        width, scale
            The picture is `width` × `scale` pixels wide.

        Returns
        -------
        Path
            The file written.
        """
        return raster.png(self.traces, path, dark=dark, width=width, scale=scale, language=self.language)

    def to_gif(
        self,
        path: str | os.PathLike[str],
        *,
        dark: bool = False,
        width: int = 900,
        seconds: float = 8.0,
        rate: int = 12,
        camera: bool = False,
    ) -> Path:
        """Write a looping GIF. Needs Pillow.

        Parameters
        ----------
        path
            The file to write.
        dark
            Whether for a dark page.
        width
            Pixels.
        seconds, rate
            How long one round takes, and its frames a second.
        camera
            Whether the board's directed camera shows it: near at first, then farther, to the whole.

        Returns
        -------
        Path
            The file written.
        """
        return raster.gif(
            self.traces, path, dark=dark, width=width, seconds=seconds, rate=rate, camera=camera, language=self.language
        )
