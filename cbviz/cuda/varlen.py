"""Prompts of different lengths in one call, unpadded: FlashAttention-2 (Dao 2023) as PyTorch ships it.

The rows lie end to end; FlashAttention gets where each begins ("varlen"). A chunk that continues an earlier one has
more keys than queries, and its queries are the last of them: FlashAttention aligns causal rows lower right, as we do.
It reads its keys end to end as well, so where a row has earlier context the cached keys are gathered first. Rows that
begin here need no gathering: the keys they see are the ones just computed.

From torch 2.12.1 on PyTorch's function can look keys up in a block table itself (`block_table`), which would spare the
gathering. It is not used: older versions have no such argument, and the gathering is one copy of what the chunk's
attention then reads many times. Decoding, where the lookup matters, has kernels of its own (`triton_decode`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cbviz.cuda import flash3
from cbviz.models.capability import capability

_LARGEST_HEAD = 256
"""FlashAttention-2 has kernels for heads of up to 256 numbers."""


@dataclass(frozen=True, slots=True)
class PackedPrompts:
    """What all layers share: where the rows lie among the queries and among the keys."""

    cu_seqlens_q: Tensor
    """int32 [R + 1]"""
    cu_seqlens_k: Tensor
    """int32 [R + 1]"""
    longest_queries: int
    longest_context: int
    fresh: bool
    """Every row begins its sequence here, so the batch's own keys are all there is to see."""
    gather: Tensor
    """int64 [sum of the contexts]: cache positions of the keys, row after row."""


def refusal(query: Tensor) -> str | None:
    """Why FlashAttention cannot take these queries; None where it can."""
    if query.device.type != "cuda":
        return f"FlashAttention runs on CUDA devices, not on {query.device.type}"
    if not capability(query.device).flash:
        return (
            "FlashAttention needs an NVIDIA GPU of compute capability 8.0 (Ampere) or more, and a PyTorch that has it"
        )
    if query.dtype not in (torch.float16, torch.bfloat16):
        return f"FlashAttention computes in float16 or bfloat16, not in {str(query.dtype).removeprefix('torch.')}"
    if query.shape[-1] % 8 or query.shape[-1] > _LARGEST_HEAD:
        return f"FlashAttention wants heads of a multiple of 8 up to {_LARGEST_HEAD}, not of {query.shape[-1]}"
    return None


def prefill(
    query: Tensor,
    keys_new: Tensor | None,
    values_new: Tensor | None,
    keys: Tensor,
    values: Tensor,
    packed: PackedPrompts,
    *,
    scale: float,
    window: int | None,
) -> Tensor:
    """Attend with every query token to its own row up to itself. Ask `refusal` first.

    Parameters
    ----------
    query
        [T, query heads, head size]; the last dimension contiguous.
    keys_new, values_new
        [T, KV heads, head size], of this batch's own tokens, the last dimension contiguous. None where they are not at
        hand: then the cache is read.
    keys, values
        [cache positions, KV heads, head size]: one layer of the cache, the batch's own tokens already written.
    packed
        Where the rows lie.
    scale, window
        As in `AttentionBackend.attend`.

    Returns
    -------
    Tensor
        [T, query heads, head size]; numbers of tokens outside all rows are undefined.
    """
    if not packed.fresh or keys_new is None or values_new is None:
        keys_new, values_new = keys[packed.gather], values[packed.gather]
    attend = flash3.attend if flash3.serves(query.device, packed.longest_queries) else _flash()
    return attend(query, keys_new, values_new, packed, scale, -1 if window is None else window - 1)


@cache
def _flash() -> Callable[[Tensor, Tensor, Tensor, PackedPrompts, float, int], Tensor]:
    """PyTorch's public function where it serves grouped queries (from 2.12.1 on), else the operator below it."""
    from torch.nn.attention.varlen import varlen_attn  # here, because it loads half of torch.compile

    return _public if "enable_gqa" in inspect.signature(varlen_attn).parameters else _operator


def _public(q: Tensor, k: Tensor, v: Tensor, packed: PackedPrompts, scale: float, before: int) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    output = varlen_attn(
        q,
        k,
        v,
        packed.cu_seqlens_q,
        packed.cu_seqlens_k,
        packed.longest_queries,
        packed.longest_context,
        scale=scale,
        window_size=(before, 0),
        enable_gqa=True,
    )
    assert isinstance(output, Tensor)  # a tuple only where more than the output is asked for
    return output


def _operator(q: Tensor, k: Tensor, v: Tensor, packed: PackedPrompts, scale: float, before: int) -> Tensor:
    output: Tensor = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        packed.cu_seqlens_q,
        packed.cu_seqlens_k,
        packed.longest_queries,
        packed.longest_context,
        0.0,  # dropout
        True,  # causal
        False,  # no debug mask
        scale=scale,
        window_size_left=before,
        window_size_right=0,
    )[0]
    return output
