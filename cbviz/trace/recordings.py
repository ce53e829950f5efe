"""Runs that ship with cbviz, recorded on a large GPU, to look at without one."""

from __future__ import annotations

from pathlib import Path

from cbviz.checks import shown
from cbviz.errors import TraceError
from cbviz.trace.files import load
from cbviz.trace.trace import Trace

_FOLDER = Path(__file__).parent / "recorded_runs"

RECORDINGS = {
    "llama-8b-32": "Llama-3.1-8B's shape with random weights, 128 requests on 32 slots, static and continuous",
    "llama-8b-128": "the same, 512 requests on 128 slots, static and continuous",
    "smollm2-8": "SmolLM2-135M-Instruct answers 48 questions on 8 slots, static and continuous",
}
"""Name and description of each recording. The `meta` of every trace names device and versions."""

_LANES = ("static", "continuous")


def recorded(name: str) -> tuple[Trace, ...]:
    """Load a run that ships with cbviz.

    Parameters
    ----------
    name
        A key of `cbviz.trace.RECORDINGS`.

    Returns
    -------
    tuple[Trace, ...]
        Its lanes, static and continuous, ready for `cbviz.Board(*cbviz.recorded(name))`.

    Raises
    ------
    TraceError
        There is no such recording; the message lists those there are.

    Examples
    --------
    >>> import cbviz
    >>> [trace.meta.policy for trace in cbviz.recorded("llama-8b-32")]
    ['static', 'continuous']
    """
    if not isinstance(name, str) or name not in RECORDINGS:
        raise TraceError(f"there is no recording {shown(name)}; there are {', '.join(RECORDINGS)}.")
    return tuple(load(_FOLDER / f"{name}.{lane}.cbviz") for lane in _LANES)
