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
