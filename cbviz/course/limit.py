"""Stop a learner's loop that never ends."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, TypeVar

from cbviz.errors import BrokenOff

Result = TypeVar("Result")

_OURS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
"""Folders whose code need not be traced line by line: this package, and installed packages."""


class TooSlow(BrokenOff):
    """Raised inside code that runs too long."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Call a function, and raise TooSlow in the first line of Python that runs more than `seconds` from now.

    Every line of the learner's code and every call of ours checks the clock, on every operating system and without a
    second thread; a single call into C that never returns cannot be stopped this way. The trace function of a debugger
    or a coverage tool is restored afterwards.

    Raises
    ------
    TooSlow
        Time is up.
    """
    end = monotonic() + seconds
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if monotonic() > end:
            raise TooSlow
        return None if event == "call" and frame.f_code.co_filename.startswith(_OURS) else trace

    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)
