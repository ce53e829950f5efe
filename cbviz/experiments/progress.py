"""How far a long run has come: a small protocol, and three that keep it with bars, with plain lines, with silence.

An experiment opens one bar for each thing that runs (a lane, a download), moves it, and closes them all at the end. It
never asks where the bars are drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

from cbviz.experiments.outlook import rough

WORTH_SAYING = 20.0
"""Seconds that something may take at most for which no estimate is needed."""
AT_ONCE = 3.0
"""Seconds after which a line gives the estimate: what is over by then needs none, either."""
BETWEEN_LINES = 15.0
"""Seconds between two lines where no bars can be drawn."""


class Progress(Protocol):
    """Where an experiment reports how far it is. Bars are known by their title."""

    def start(self, title: str, total: int) -> None:
        """Open a bar of `total` steps, or set the bar of that title back to 0 (the next repeat of the same lane)."""
        ...

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Move a bar that was started by `steps`; a non-empty `note` replaces the text at its end."""
        ...

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """Say at the start how long it takes at most: `steps` of all bars together, which `of` describes."""
        ...

    def close(self) -> None:
        """Stop drawing. What was drawn stays; calling it twice does no harm."""
        ...


class SilentProgress:
    """Says nothing: for notebooks, which have the board, and for `--quiet`."""

    def start(self, title: str, total: int) -> None:
        """Do nothing."""

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Do nothing."""

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class StoppableProgress(SilentProgress):
    """Draws nothing, and looks between two steps whether they are to go on.

    Parameters
    ----------
    look
        Called at every step; what it raises ends the work that reports.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def start(self, title: str, total: int) -> None:
        """Look."""
        self._look()

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Look."""
        self._look()


class LineProgress:
    """Plain lines, for logs and pipes: the estimate at once, then how far it is and what is left, now and then.

    Parameters
    ----------
    say
        Takes each line; by default standard error does.
    clock
        Seconds, for tests.
    """

    def __init__(self, say: Callable[[str], None] | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._say = say or _to_stderr
        self._clock = clock
        self._begun = clock()
        self._last = self._begun
        self._bars: dict[str, list[int]] = {}
        self._done = 0
        self._steps = 0
        self._estimate = ""

    def start(self, title: str, total: int) -> None:
        """Open a bar of `total` steps, or set the bar of that title back to 0."""
        self._bars[title] = [0, total]

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """One line, once it has taken long enough for one."""
        self._last = self._begun = self._clock()
        self._steps, self._done = steps, 0
        self._estimate = f"at most about {rough(seconds)}: {of}" if seconds >= WORTH_SAYING else ""

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Move a bar that was started; a line if the last one is old enough. Raises KeyError for an unknown title."""
        bar = self._bars[title]
        bar[0] += steps
        self._done += steps
        now = self._clock()
        if self._estimate and now - self._begun >= AT_ONCE:
            self._say(self._estimate)
            self._estimate = ""
            self._last = now
        if now - self._last < BETWEEN_LINES:
            return
        self._last = now
        left = ""
        if 0 < self._done < self._steps:
            left = f", about {rough((now - self._begun) * (self._steps - self._done) / self._done)} left"
        self._say(f"{title}{f', {note}' if note else ''}: {bar[0]:,} of {bar[1]:,}{left}")

    def close(self) -> None:
        """Do nothing: every line is complete."""


def _to_stderr(line: str) -> None:
    print(f"cbviz: {line}", file=sys.stderr, flush=True)


def progress_for(quiet: bool) -> Progress:
    """What suits standard error: bars on a terminal, plain lines elsewhere, silence if asked for."""
    if quiet:
        return SilentProgress()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return TerminalProgress() if terminal else LineProgress()


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
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=console or Console(file=sys.stderr),
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

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """One line above the bars, if it takes long enough for one."""
        if seconds >= WORTH_SAYING:
            self._bars.console.print(f"at most about {rough(seconds)}: {of}", markup=False, highlight=False)

    def close(self) -> None:
        """Stop drawing; the bars stay on the screen as they are."""
        self._bars.stop()
