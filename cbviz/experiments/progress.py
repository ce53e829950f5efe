"""Telling people how far a long run has come: a small protocol, one that draws bars, one that says nothing.

An experiment opens one bar for each thing that runs (a lane, a download), moves it, and closes them all at the end. It
never asks where the bars are drawn.
"""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichBars


class Progress(Protocol):
    """Where an experiment reports how far it is. Bars are known by their title."""

    def start(self, title: str, total: int) -> None:
        """Open a bar of `total` steps, or set the bar of that title back to 0 (the next repeat of the same lane)."""
        ...

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Move a bar that was started by `steps`; a non-empty `note` replaces the text at its end."""
        ...

    def close(self) -> None:
        """Stop drawing. What was drawn stays; calling it twice does no harm."""
        ...


class SilentProgress:
    """Says nothing: for notebooks, which have the board, for `--quiet`, and where nobody looks."""

    def start(self, title: str, total: int) -> None:
        """Do nothing."""

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class TerminalProgress:
    """Draws the bars with rich, by default on standard error, so that standard output holds results only.

    Parameters
    ----------
    console
        Where to draw. Anything that is not a terminal gets the finished bars once, at the end.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._bars = RichBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=console or Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def start(self, title: str, total: int) -> None:
        """Open a bar of `total` steps, or set the bar of that title back to 0."""
        self._bars.start()
        task = self._tasks.get(title)
        if task is None:
            self._tasks[title] = self._bars.add_task(title, total=total, note="")
        else:
            self._bars.reset(task, total=total, note="")

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Move a bar that was started. Raises KeyError for a title that was not."""
        task = self._tasks[title]
        if note:
            self._bars.update(task, advance=steps, note=note)
        else:
            self._bars.update(task, advance=steps)

    def close(self) -> None:
        """Stop drawing; the bars stay on the screen as they are."""
        self._bars.stop()
