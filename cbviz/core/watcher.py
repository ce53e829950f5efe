"""The thread that looks at the clock for the policies of all engines, and breaks off a plan whose time is up."""

from __future__ import annotations

import ctypes
import threading
import time
from weakref import WeakSet

from cbviz.errors import BrokenOff

SECONDS_BETWEEN_CHECKS = 0.25
"""How often the watching thread looks at the clock."""


class PlanTimeout(BrokenOff):
    """Raised inside a plan that takes too long."""


class Deadline:
    """When the plan that is being made by one engine's policy is broken off, and in which thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._until: float | None = None
        """None while no plan is being made."""
        self._raised = False
        with _registering:
            _watched.add(self)

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


class _CalledBack(BaseException):
    """Takes the place of an exception that is on its way."""


def call_back(thread: int) -> None:
    """Make sure that no exception is on its way to this thread, which is the one that calls.

    Python 3.11 forgets to lower its flag when an exception that is on its way is replaced by none: from then on every
    jump is slow, and a trace function (a debugger's, or that of `cbviz.course.limit`) never gets past one. So another
    exception takes its place, and is caught here.
    """
    interrupt: BaseException | None = None
    sent = False
    while True:
        try:
            if not sent:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_CalledBack))
                sent = True
            while True:
                pass
        except _CalledBack:
            break
        except BaseException as error:  # a signal handler's
            interrupt = error
    if interrupt is not None:
        raise interrupt


def hurry(thread: int | None, seconds: float) -> None:
    """Give a plan that is being made in this thread so many seconds more at most: for a run that is to stop."""
    for deadline in _all():
        deadline.hurry(thread, seconds)


_watched: WeakSet[Deadline] = WeakSet()
_registering = threading.Lock()


class Watcher:
    """Makes sure that a thread looks at the clock; one is enough for all engines."""

    def __init__(self) -> None:
        self.thread = threading.Thread()
        """Not alive before the first plan, and after a fork."""

    def start(self) -> None:
        """Begin to look at the clock."""
        self.thread = threading.Thread(target=_check_the_clock, name="cbviz policy clock", daemon=True)
        self.thread.start()


watcher = Watcher()


def _all() -> list[Deadline]:
    with _registering:
        return list(_watched)


def _check_the_clock() -> None:
    while True:
        time.sleep(SECONDS_BETWEEN_CHECKS)
        for deadline in _all():
            deadline.check(time.monotonic())
