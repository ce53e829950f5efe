"""A policy's time to think: a plan that never ends is broken off, and the run says whose it was.

Planning is the only moment of an iteration in which somebody else's Python runs, and nothing has been changed when it
begins. So a plan may be broken off at any of its lines: at once by Ctrl-C or a notebook's interrupt, by the clock
otherwise, in whichever thread it runs. One call into C that never returns cannot be broken off that way.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

from cbviz.errors import BrokenOff

Thought = TypeVar("Thought")

PATIENCE = 30.0
"""Seconds for one plan. Those of cbviz take a few milliseconds at most."""
POLL = 0.25
"""Seconds between two looks at the clock."""


class Endless(BrokenOff):
    """Raised inside a plan that takes too long."""


class Thinking:
    """One engine's policy at work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._until: float | None = None
        """When the plan that is being made is broken off; None while none is."""
        self._told = False
        with _registering:
            _watched.add(self)

    @property
    def here(self) -> bool:
        """Whether the policy is planning in the thread that asks: then an interrupt need not wait."""
        return self._until is not None and self._thread == threading.get_ident()

    def let(self, think: Callable[[], Thought], seconds: float | None = None) -> Thought:
        """Call `think`, and raise Endless inside it once its time is up; None gives it `PATIENCE`."""
        _watch()
        try:
            try:
                patience = PATIENCE if seconds is None else seconds
                self._thread, self._until = threading.get_ident(), time.monotonic() + patience
                return think()
            finally:
                self._over()
        except BaseException:
            self._over()  # an interrupt, or Endless, may have struck just there
            raise

    def _over(self) -> None:
        """Nobody thinks any more; an Endless that is on its way is called back."""
        with self._lock:
            self._until = None
            if self._told:
                self._told = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)

    def hurry(self, thread: int | None, seconds: float) -> None:
        """Give the plan that is made in this thread, if one is, so many seconds more at most."""
        with self._lock:
            if self._until is not None and self._thread == thread:
                self._until = min(self._until, time.monotonic() + seconds)

    def look(self, now: float) -> None:
        """Break the plan off if its time is up; again at every look, in case the policy caught it."""
        with self._lock:
            if self._until is not None and now > self._until:
                self._told = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(Endless))


def hurry(thread: int | None, seconds: float) -> None:
    """Give whoever plans in this thread so many seconds more at most: for a run that was told to stop."""
    for thinking in _all():
        thinking.hurry(thread, seconds)


_watched: WeakSet[Thinking] = WeakSet()
_registering = threading.Lock()
_watcher: threading.Thread | None = None


def _all() -> list[Thinking]:
    with _registering:
        return list(_watched)


def _watch() -> None:
    """See to it that a thread looks at the clock; one is enough for all engines."""
    global _watcher
    if _watcher is None or not _watcher.is_alive():  # the first, or the first after a fork
        _watcher = threading.Thread(target=_look_at_the_clock, name="cbviz patience", daemon=True)
        _watcher.start()


def _look_at_the_clock() -> None:
    while True:
        time.sleep(POLL)
        for thinking in _all():
            thinking.look(time.monotonic())
