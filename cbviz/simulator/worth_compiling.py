"""When a kernel of a simulation is worth compiling (`cbviz.jit`); until then, and without numba, it is plain Python.

A kernel is a function of numbers and flat columns. Compiled, its columns are numpy arrays; as plain Python they are
lists, which Python indexes five times as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

COMPILE_FROM = 20_000
"""Requests that plain Python serves in a second or two; compiling a kernel, or only loading it, takes about that."""
_served: dict[Callable[..., Any], int] = {}


def worth_compiling(kernel: Callable[..., Any], requests: int) -> bool:
    """Whether a kernel is to be compiled for so many requests more, since this process served enough without.

    Times are the same either way. Compiling takes seconds, or a minute on a busy machine, so a process that serves few
    requests never does it, and one that serves many in small portions, as a sweep does, loses little.

    Parameters
    ----------
    kernel
        Of a policy.
    requests
        That it is about to serve.

    Returns
    -------
    bool
        False at first, and True from then on.
    """
    _served[kernel] = min(_served.get(kernel, 0) + requests, COMPILE_FROM)
    return _served[kernel] >= COMPILE_FROM
