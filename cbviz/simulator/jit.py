"""Kernels that run compiled where numba is installed (`pip install cbviz[fast]`), and as plain Python elsewhere.

A kernel is a function of numbers and flat columns. Compiled, its columns are numpy arrays; as plain Python they are
lists, which Python indexes five times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from time import perf_counter
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

COMPILE_FROM = 20_000
"""Requests that plain Python serves in a second or two; compiling a kernel, or only loading it, takes about that."""
_served: dict[Callable[..., Any], int] = {}


def inner(function: Function) -> Function:
    """Mark a function that kernels call, so that it is compiled with them."""
    try:
        from numba.extending import register_jitable
    except ImportError:
        return function
    marked: Function = register_jitable(function)
    return marked


@cache
def compiled(kernel: Callable[..., Any]) -> Callable[..., Any] | None:
    """The compiled kernel, None without numba."""
    try:
        from numba import njit
    except ImportError:
        return None
    found: Callable[..., Any] = njit(cache=True, nogil=True)(kernel)
    return found


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


def compiled_for(kernel: Callable[..., Any], arguments: Sequence[Any]) -> float:
    """Compile a kernel for the types of its arguments now, so that its first call only computes.

    Parameters
    ----------
    kernel
        What `compiled` returned.
    arguments
        Of the calls to come.

    Returns
    -------
    float
        Seconds that it took; nearly 0 if it was compiled before.
    """
    began = perf_counter()
    kernel.compile(tuple(map(kernel.typeof_pyval, arguments)))  # type: ignore[attr-defined]
    return perf_counter() - began
