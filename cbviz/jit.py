"""numba, where it is installed (`pip install cbviz[fast]`): functions of numbers and arrays, compiled before their use.

numba keeps what it has compiled beside the source or in the user's cache folder, so that later processes load it. Where
that cannot be read or written, a process compiles for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from time import perf_counter
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def inner(function: Function) -> Function:
    """Mark a function that compiled functions call, so that it is compiled with them; without numba it stays plain."""
    try:
        from numba.extending import register_jitable
    except ImportError:
        return function
    marked: Function = register_jitable(function)
    return marked


@cache
def compiled(kernel: Callable[..., Any]) -> Callable[..., Any] | None:
    """The function to be compiled, None without numba. Other Python threads run while it does."""
    try:
        from numba import njit
    except ImportError:
        return None
    try:
        found: Callable[..., Any] = njit(cache=True, nogil=True)(kernel)
    except RuntimeError:  # no folder in which its cache could lie can be written
        found = njit(nogil=True)(kernel)
    return found


def compiled_for(kernel: Callable[..., Any], arguments: Sequence[Any]) -> float:
    """Compile a function for the types of its arguments now, so that its first call only computes.

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
    types = tuple(map(kernel.typeof_pyval, arguments))  # type: ignore[attr-defined]
    try:
        kernel.compile(types)  # type: ignore[attr-defined]
    except Exception:  # a damaged cache raises whatever its bytes come to, and a full disk an OSError
        from numba.core.caching import NullCache

        kernel._cache = NullCache()  # type: ignore[attr-defined]
        kernel.compile(types)  # type: ignore[attr-defined]
    return perf_counter() - began
