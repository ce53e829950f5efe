"""What our Triton kernels share: whether they can run here, and how they are declared.

Triton exists on Linux alone. Everywhere else these modules can be imported all the same, and `available` says no.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cbviz.errors import EngineError

__all__ = ["available", "check_cache", "jit", "need_triton", "padded", "tl", "triton"]

try:
    import triton
    import triton.language as tl
except Exception:  # absent, or broken in one of many ways
    triton = tl = None


def available() -> bool:
    """Whether the kernels can run here: Triton and a CUDA device, or Triton's interpreter."""
    return triton is not None and (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1")


def need_triton() -> None:
    """Raise EngineError where there is no Triton."""
    if triton is None:
        raise EngineError("Triton is not installed; these kernels need it, and it exists on Linux alone.")


def check_cache(keys: Tensor, values: Tensor) -> None:
    """Raise EngineError if one layer's keys and values are not as the kernels read them, or there is no Triton."""
    need_triton()
    if not (keys.is_contiguous() and values.is_contiguous() and keys.shape == values.shape):
        raise EngineError("a layer's keys and values must be contiguous and of one shape.")


def padded(length: int) -> int:
    """What Triton makes of a dimension: a power of 2, and at least the 16 that `tl.dot` multiplies."""
    return 1 << max(4, (length - 1).bit_length())


def jit(kernel: Callable[..., Any]) -> Any:
    """`triton.jit` where there is Triton."""
    return kernel if triton is None else triton.jit(kernel)
