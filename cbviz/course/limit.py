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
"""Where code lies that needs no watching line by line: this package, and what is installed."""


class TooSlow(BrokenOff):
    """Raised inside the code that runs too long."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Call, and raise TooSlow in a line of Python that runs later than `seconds` from now.

    Every line of the learner's code and every call of ours asks the clock, on every operating system and without a
    second thread; a single call into C that never returns cannot be stopped this way. A debugger's or a coverage tool's
    own trace function is put back afterwards.

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
