"""Time in tests: limits that a busy machine keeps, however slow it is.

A test waits for a condition, and a limit is for a run that hangs. What must be quick is measured in seconds of this
thread's own computing, which other processes on the machine hardly change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANGS = 120.0
"""Seconds after which a condition will never come true."""
AT_ONCE = 10.0
"""Seconds of computing that a refusal never takes, on any machine; what it refuses would take minutes or gigabytes."""


def until(condition: Callable[[], object], seconds: float = HANGS) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


@contextmanager
def at_once(what: str = "it") -> Iterator[None]:
    """The block computes for less than `AT_ONCE`."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < AT_ONCE, f"{what} took its time"
