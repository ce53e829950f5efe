"""Ctrl-C while the command is still being imported: the exit code says so, and no traceback is printed.

`cbviz.cli.signals` takes over when the command runs. Until then there is nothing to save, and an exception raised in
the middle of an import may be swallowed by a library, so the process ends right there. What is imported before `guard`
is not guarded, so this module imports as little as it can: not even `typing`.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

NOTHING_KEPT = b"cbviz: interrupted; nothing was kept.\n"


def is_command() -> bool:
    """Whether a process of `python -m …` runs cbviz, whose package is imported before its `__main__`."""
    at = next((n for n, word in enumerate(sys.orig_argv) if word == "-m"), len(sys.orig_argv))
    return sys.orig_argv[at + 1 : at + 2] == ["cbviz"] or "-mcbviz" in sys.orig_argv[:at]


def guard() -> None:
    """End quietly on Ctrl-C from here on; an interrupt that is ignored (nohup) or handled already is left alone."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def leave(number: int, frame: FrameType | None = None) -> NoReturn:
    """The handler: end the process as shells report a signal."""
    try:  # noqa: SIM105 – contextlib is one more import
        os.write(2, NOTHING_KEPT)
    except OSError:  # standard error is closed
        pass
    os._exit(128 + number)
