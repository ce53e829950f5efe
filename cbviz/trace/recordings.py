"""Runs that ship with cbviz, recorded on a large GPU, to look at without one."""

from __future__ import annotations

import re
from pathlib import Path

from cbviz.checks import known_elsewhere, shown
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


COMPARISONS = {
    "engines-tiny": "the built-in model serves 32 small tasks on 8 slots of a CPU: cbviz and transformers",
    "engines-llama-8b": "Llama-3.1-8B's shape serves 128 requests on 32 slots of an H200: cbviz, transformers, vLLM, "
    "and vLLM under a policy of cbviz",
}
"""Name and description of runs of the same work on several engines."""

_COMPARED = Path(__file__).parent / "compared_runs"
ENGINES = ("cbviz", "transformers", "vllm", "smallest_first")
"""The engines of a comparison, in the order of its lanes; one without a recorded run has none. The last is vLLM again,
with a policy of cbviz that orders its admissions."""


def compared(name: str) -> tuple[Trace, ...]:
    """Load the runs of several engines on the same work.

    Parameters
    ----------
    name
        A key of `COMPARISONS`.

    Returns
    -------
    tuple[Trace, ...]
        One lane an engine, for `cbviz.Board(*compared("engines-tiny"))`.

    Raises
    ------
    TraceError
        There is no such comparison; the message lists those there are.

    Examples
    --------
    >>> from cbviz.trace.recordings import compared
    >>> [trace.meta.policy for trace in compared("engines-tiny")]
    ['continuous', 'transformers fifo']
    """
    if not isinstance(name, str) or name not in COMPARISONS:
        known = ", ".join(COMPARISONS)
        raise TraceError(f"there is no comparison {shown(name)}; there are {known}{known_elsewhere(name)}.")
    paths = [_COMPARED / f"{name}.{engine}.cbviz" for engine in ENGINES]
    return tuple(load(path) for path in paths if path.exists())


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
        known = ", ".join(RECORDINGS)
        raise TraceError(f"there is no recording {shown(name)}; there are {known}{known_elsewhere(name)}.")
    return tuple(load(_FOLDER / f"{name}.{lane}.cbviz") for lane in _LANES)


def named_runs(name: object) -> tuple[Trace, ...]:
    """The lanes of a recorded run or of a comparison of engines, by its name; none for what may be a file.

    Raises TraceError for a name that is neither a recording's nor a file's.
    """
    if not isinstance(name, str):
        return ()
    if name in RECORDINGS or name in COMPARISONS:
        return recorded(name) if name in RECORDINGS else compared(name)
    if re.fullmatch(r"[\w-]{1,100}", name) and not Path(name).exists():
        known = ", ".join((*RECORDINGS, *COMPARISONS))
        elsewhere = known_elsewhere(name)
        raise TraceError(f"there is no file and no recording {shown(name)}; recordings are {known}{elsewhere}.")
    return ()


def runs_of(name: str) -> tuple[Trace, ...]:
    """The lanes of a recorded run or of a comparison of engines, or the run in a file. Raises CbvizError for others."""
    return named_runs(name) or (load(name),)
