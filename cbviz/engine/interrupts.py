"""Ctrl-C, and a notebook's interrupt, wait for the iteration in flight: state is never left half changed.

They need not wait while a policy plans: nothing has been changed then, and a plan may take forever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred(welcome: Callable[[], bool]) -> Iterator[None]:
    """Hold back an interrupt until the block is done, then raise it as KeyboardInterrupt; at once where it is welcome.

    Python delivers interrupts to the main thread only, so in any other thread there is nothing to hold back; nor is
    there where the process ignores them, as shells have their background jobs do.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def remember(signum: int, frame: FrameType | None) -> None:
        if welcome():
            raise KeyboardInterrupt
        caught.append(signum)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        # None: installed from C; Python cannot put it back, so the default is the best there is.
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt
