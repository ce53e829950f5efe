"""FlashAttention-3 for long prompts, where it is installed (Shah et al. 2024).

PyTorch ships FlashAttention-2, which was written for Ampere. On a Hopper GPU the third reads a long prompt in less than
half the time (`benchmarks/choices.py`). It is a package of its own, `flash_attn_3`, and is used once it is installed.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cbviz.checks import one_line
from cbviz.models.capability import HOPPER, capability

if TYPE_CHECKING:
    from cbviz.cuda.varlen import PackedPrompts

MODULE, FUNCTION = "flash_attn_interface", "flash_attn_varlen_func"
LONG_PROMPT = 512
"""Shorter prompts are served as fast by FlashAttention-2."""


def serves(device: torch.device, longest: int) -> bool:
    """Whether prompts of which the longest has so many tokens go to FlashAttention-3."""
    return longest >= LONG_PROMPT and capability(device).sm == HOPPER and _function() is not None


@cache
def _function() -> Any:
    """The package's function; None if it is not installed, or not for this PyTorch, which is said once."""
    try:
        return getattr(import_module(MODULE), FUNCTION)
    except ModuleNotFoundError as error:
        if error.name == MODULE:
            return None
        reason = one_line(error)
    except Exception as error:  # a library that was built for another PyTorch or CUDA raises what it likes
        reason = one_line(error)
    warnings.warn(
        f"FlashAttention-3 is installed and does not work here ({reason}); FlashAttention-2 serves prompts instead.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def attend(q: Tensor, k: Tensor, v: Tensor, packed: PackedPrompts, scale: float, before: int) -> Tensor:
    """Attend as `varlen.prefill` does. A query sees `before` positions before its own; -1 for all."""
    output = _function()(
        q,
        k,
        v,
        cu_seqlens_q=packed.cu_seqlens_q,
        cu_seqlens_k=packed.cu_seqlens_k,
        max_seqlen_q=packed.longest_queries,
        max_seqlen_k=packed.longest_context,
        softmax_scale=scale,
        causal=True,
        window_size=(before, -1 if before < 0 else 0),
    )
    # Older versions return the sums of each query's weights, too.
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found
