"""Progress of a long run: a small protocol, and implementations that draw bars, print plain lines, or stay silent.

A run opens one bar for each task (a lane, a download), advances it, and closes all bars at the end. It does not know
where they are drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.run.outlook import rough

WORTH_SAYING = 20.0
"""Seconds up to which a run needs no estimate."""
AT_ONCE = 3.0
"""Seconds after which a line gives the estimate: a run that ends before needs none."""
BETWEEN_LINES = 15.0
"""Seconds between two lines where no bars can be drawn."""


REPORTS = ("start", "advance", "expect", "close")
"""What a `Progress` must have."""


class Progress(Protocol):
    """Where a run reports its progress. Bars are identified by their titles."""

    def start(self, title: str, total: int) -> None:
        """Open a bar of `total` steps, or set the bar of that title back to 0 (the next repeat of the same lane)."""
        ...

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Advance a started bar by `steps`; a non-empty `note` replaces the text at its end."""
        ...

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """Announce at the start how long it takes at most: `steps` over all bars; `of` describes the work."""
        ...

    def close(self) -> None:
        """Stop drawing. The drawn bars stay; a second call does nothing."""
        ...


class SilentProgress:
    """Reports nothing: for notebooks, which have the board, and for `--quiet`."""

    def start(self, title: str, total: int) -> None:
        """Do nothing."""

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Do nothing."""

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def progress_of(given: object) -> Progress:
    """Where a run reports its progress: what was given, or nothing for None.

    Raises
    ------
    CbvizError
        It lacks a method of `Progress`.
    """
    if given is None:
        return SilentProgress()
    lacking = [name for name in REPORTS if not callable(getattr(type(given), name, None))]
    if lacking or isinstance(given, type):
        raise CbvizError(f"progress must be None or an object with {', '.join(REPORTS)}, not {shown(given)}.")
    return given  # type: ignore[return-value]


class StoppableProgress(SilentProgress):
    """Checks at every step whether the work should continue, and passes the step on.

    Parameters
    ----------
    look
        Called at every step; an exception from it ends the work.
    shown
        Draws the steps.
    """

    def __init__(self, look: Callable[[], None], shown: Progress) -> None:
        self._look = look
        self._shown = shown

    def start(self, title: str, total: int) -> None:
        """Look, then open the bar."""
        self._look()
        self._shown.start(title, total)

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Look, then advance the bar."""
        self._look()
        self._shown.advance(title, steps, note)


class LineProgress:
    """Plain lines, for logs and pipes: first the estimate, then at intervals the progress and the time left.

    Parameters
    ----------
    say
        Receives each line; the default writes to standard error.
    clock
        Returns seconds; replaceable in tests.
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
        """Keep the estimate for a line, which appears if the run takes long enough."""
        self._last = self._begun = self._clock()
        self._steps, self._done = steps, 0
        self._estimate = f"at most about {rough(seconds)}: {of}" if seconds >= WORTH_SAYING else ""

    def advance(self, title: str, steps: int = 1, note: str = "") -> None:
        """Advance a bar, and print a line if the last one is old enough. Raises KeyError for an unknown title."""
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
    """The progress that suits standard error: bars on a terminal, plain lines elsewhere, nothing if `quiet`."""
    if quiet:
        return SilentProgress()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return TerminalProgress() if terminal else LineProgress()


class TerminalProgress:
    """Draws the bars with rich, by default on standard error, so that standard output holds results only.

    Parameters
    ----------
    console
        Where to draw. Output that is not a terminal gets the finished bars once, at the end.
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
        """Advance a bar. Raises KeyError for an unknown title."""
        task = self._tasks[title]
        if note:
            self._bars.update(task, advance=steps, note=note)
        else:
            self._bars.update(task, advance=steps)

    def expect(self, seconds: float, steps: int, of: str) -> None:
        """Print the estimate above the bars if the run takes long enough to need one."""
        if seconds >= WORTH_SAYING:
            self._bars.console.print(f"at most about {rough(seconds)}: {of}", markup=False, highlight=False)

    def close(self) -> None:
        """Stop drawing; the bars stay on the screen as they are."""
        self._bars.stop()
