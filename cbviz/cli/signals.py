"""Signals that end a command: Ctrl-C, a terminal that closes, a system that shuts down.

All three stop a run after its iteration in flight, and the requested files are written. Only the command's own process
handles them; `main()` called from Python leaves its caller's handlers alone.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
from collections.abc import Iterator
from time import monotonic
from types import FrameType
from typing import Any

from cbviz._early import leave

SHELL = 128
"""Shells report a signal as this plus its number."""
INTERRUPTED = SHELL + 2
ECHO = 0.5
"""Seconds within which another signal counts as the same one."""
RESEND = 0.05
"""Seconds until a signal that Python dropped comes again: by then the object is freed, and the caller's code runs."""

REPLACED = (signal.SIG_DFL, signal.default_int_handler, leave)
"""Handlers that a command replaces by its own; the last is there while it is imported."""


class Ended(KeyboardInterrupt):
    """A signal requests the end. Handled wherever Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Answered(KeyboardInterrupt):
    """An interrupt that has already been reported."""


class Signals:
    """The signals received so far."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._heard = 0.0

    @property
    def code(self) -> int:
        """The exit code for the signal received; Ctrl-C's if none was."""
        return INTERRUPTED if self.number is None else SHELL + self.number

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """The handler. One key press can arrive twice (at the process and at its group): the second is ignored."""
        now = monotonic()
        if self.number is not None and now - self._heard < ECHO:
            return
        self._heard = now
        self.number = self.number or number
        raise Ended(number)

    def forget_echo(self) -> None:
        """The last signal had no effect: the next one counts, however soon it comes."""
        self._heard = -math.inf


@contextlib.contextmanager
def signals(own_process: bool) -> Iterator[Signals]:
    """Within the block, turn signals into `Ended`. A signal that is ignored (nohup) stays ignored."""
    seen = Signals()
    if not own_process or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in REPLACED:
            signal.signal(number, seen.receive)
    sys.unraisablehook = _again(sys.unraisablehook, seen)
    try:
        yield seen
    finally:
        # From here on a signal ends the process: there is nothing left to save, and no traceback to show.
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == seen.receive:
                signal.signal(number, signal.SIG_DFL)


def _again(honest: Any, seen: Signals) -> Any:
    """Resend an interrupt that Python dropped because it was raised while freeing an object.

    Imports free many: an interrupt that comes while libraries load is dropped now and then.
    """

    def hook(unraisable: Any) -> None:
        error = unraisable.exc_value
        if isinstance(error, Ended):
            seen.forget_echo()
            timer = threading.Timer(RESEND, _send, [error.number])
            timer.daemon = True  # a command that has ended does not wait for it
            timer.start()
        else:
            honest(unraisable)

    return hook


def _send(number: int) -> None:
    """Send the main thread a signal, so that it wakes even where it waits; raised here, it would only wake this one."""
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)
