"""What may break an iteration off, and when: an interrupt or the clock, and only while its policy plans.

Ctrl-C and a notebook's interrupt wait for the iteration in flight, so that state is never left half changed. Planning
is the only moment of an iteration in which code from outside cbviz runs, and nothing has been changed when it begins.
So a plan may be broken off at any of its lines: at once by an interrupt, by the clock after `SECONDS_A_PLAN`, in
whichever thread it runs; the run then says which policy it was. One call into C that never returns cannot be broken off
that way.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar
from weakref import WeakSet

from cbviz.errors import BrokenOff

Answer = TypeVar("Answer")

SECONDS_A_PLAN = 30.0
"""The longest that a plan may take. Those of cbviz take a few milliseconds at most."""
SECONDS_BETWEEN_CHECKS = 0.25
"""How often the watching thread looks at the clock."""


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


class PlanTimeout(BrokenOff):
    """Raised inside a plan that takes too long."""


class PolicyTimeout:
    """Limits how long the policy of one engine may plan."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._until: float | None = None
        """When the plan that is being made is broken off; None while none is."""
        self._raised = False
        with _registering:
            _watched.add(self)

    @property
    def here(self) -> bool:
        """Whether the policy is planning in the thread that asks: then an interrupt need not wait."""
        return self._until is not None and self._thread == threading.get_ident()

    def limit(self, plan: Callable[[], Answer], seconds: float | None = None) -> Answer:
        """Call `plan`, and raise PlanTimeout inside it once its time is up; None allows `SECONDS_A_PLAN`."""
        _watch()
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
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)

    def hurry(self, thread: int | None, seconds: float) -> None:
        """Give a plan that is being made in this thread so many seconds more at most."""
        with self._lock:
            if self._until is not None and self._thread == thread:
                self._until = min(self._until, time.monotonic() + seconds)

    def check(self, now: float) -> None:
        """Break the plan off if its time is up; again at every check, in case the policy caught the error."""
        with self._lock:
            if self._until is not None and now > self._until:
                self._raised = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(PlanTimeout))


def hurry(thread: int | None, seconds: float) -> None:
    """Give a plan that is being made in this thread so many seconds more at most: for a run that is to stop."""
    for timeout in _all():
        timeout.hurry(thread, seconds)


_watched: WeakSet[PolicyTimeout] = WeakSet()
_registering = threading.Lock()
_watcher: threading.Thread | None = None


def _all() -> list[PolicyTimeout]:
    with _registering:
        return list(_watched)


def _watch() -> None:
    """Make sure that a thread looks at the clock; one is enough for all engines."""
    global _watcher
    if _watcher is None or not _watcher.is_alive():  # the first, or the first after a fork
        _watcher = threading.Thread(target=_check_the_clock, name="cbviz patience", daemon=True)
        _watcher.start()


def _check_the_clock() -> None:
    while True:
        time.sleep(SECONDS_BETWEEN_CHECKS)
        for timeout in _all():
            timeout.check(time.monotonic())
