"""Runs that ship with cbviz, recorded on a large GPU: for everybody who has none."""

from __future__ import annotations

from pathlib import Path

from cbviz.checks import shown
from cbviz.errors import TraceError
from cbviz.trace.files import load
from cbviz.trace.trace import Trace

_FOLDER = Path(__file__).parent / "recorded"

RECORDINGS = {
    "llama-8b-32": "Llama-3.1-8B's shape with random weights, 128 requests on 32 slots, static and continuous",
    "llama-8b-128": "the same, 512 requests on 128 slots, static and continuous",
    "smollm2-8": "SmolLM2-135M-Instruct answers 48 questions on 8 slots, static and continuous",
}
"""Name of each recording, and what it is. Every trace says in its `meta` what device and versions it was made with."""

_LANES = ("static", "continuous")


def recorded(name: str) -> tuple[Trace, ...]:
    """The lanes of a recorded run, ready for `cbviz.Board(*cbviz.recorded(name))`.

    Raises
    ------
    TraceError
        There is no such recording; the message lists those there are.
    """
    if not isinstance(name, str) or name not in RECORDINGS:
        raise TraceError(f"there is no recording {shown(name)}; there are {', '.join(RECORDINGS)}.")
    return tuple(load(_FOLDER / f"{name}.{lane}.cbviz") for lane in _LANES)
