"""What runs in a worker of a sweep. Nothing heavy is imported here, so that a worker is up as soon as Python is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from cbviz.checks import one_line, shown


def attempt(work: Callable[..., Any], arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Compute one cell; whatever it raises becomes a sentence, "" where nothing did."""
    try:
        found = work(**arguments)
        return (dict(found), "") if hasattr(found, "keys") else ({}, "the cell returned no mapping of names to results")
    except SystemExit as end:
        return {}, f"it ended Python with {shown(end.code)}"
    except Exception as error:
        return {}, one_line(error, 300) or type(error).__name__


def leave_interrupts_alone() -> None:
    """Ctrl-C reaches every process of a terminal; the sweep itself stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
