"""What may break an iteration off, and when: an interrupt or the clock, and only while its policy plans.

Ctrl-C and a notebook's interrupt wait for the iteration in flight, so that state is never left half changed. Planning
is the only moment of an iteration in which code from outside cbviz runs, and nothing has been changed when it begins.
So a plan may be broken off at any of its lines: at once by an interrupt, by the clock after `SECONDS_A_PLAN`, in
whichever thread it runs; the run then says which policy it was. One call into C that never returns cannot be broken off
that way.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from cbviz.core.watcher import Deadline, PlanTimeout, call_back, watcher

Answer = TypeVar("Answer")

__all__ = ["PlanTimeout", "PolicyTimeout", "interrupts_deferred"]

SECONDS_A_PLAN = 30.0
"""The longest that a plan may take. Those of cbviz take a few milliseconds at most."""


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


class PolicyTimeout(Deadline):
    """Limits how long the policy of one engine may plan."""

    @property
    def here(self) -> bool:
        """Whether the policy is planning in the thread that asks: then an interrupt need not wait."""
        return self._until is not None and self._thread == threading.get_ident()

    def limit(self, plan: Callable[[], Answer], seconds: float | None = None) -> Answer:
        """Call `plan`, and raise PlanTimeout inside it once its time is up; None allows `SECONDS_A_PLAN`."""
        if not watcher.thread.is_alive():  # the first plan, or the first after a fork
            watcher.start()
        try:
            try:
                allowed = SECONDS_A_PLAN if seconds is None else seconds
                self._thread, self._until = threading.get_ident(), time.monotonic() + allowed
                return plan()
            finally:
                self._end()
        except BaseException:
            self._end()  # an interrupt, or PlanTimeout, may have struck just there
            raise

    def _end(self) -> None:
        """The plan is made, or has failed; a PlanTimeout that is on its way is called back."""
        with self._lock:
            self._until = None
            if self._raised:
                self._raised = False
                call_back(self._thread)
