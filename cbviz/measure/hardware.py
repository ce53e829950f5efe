"""What memory and arithmetic allow: KV tokens a slot holds, and the least time of a decode iteration."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.checks import lengths_of, number, whole


def kv_tokens_per_busy_slot(prompts: Any, outputs: Any) -> float:
    """Mean KV positions in a busy slot: E[in·L]/E[L] + E[L(L−1)]/(2E[L]).

    A slot is busy with a request of L output tokens for L iterations, and after its j-th one (from 0) it has in + j
    positions: the last token's keys are never written. Averaged over iterations, long outputs count for more (the
    inspection paradox): exponential outputs hold about a full mean length, not half of one.

    Holds for prompts taken in whole, without held slots, and paging with blocks of one token; larger blocks add about
    half a block.

    Parameters
    ----------
    prompts, outputs
        Lengths in tokens, one entry a request, as long as each other, at least 1 each.

    Raises
    ------
    MeasureError
        Lists that are not so.
    """
    asked, given = lengths_of("prompts", prompts), lengths_of("outputs", outputs)
    if len(asked) != len(given):
        raise MeasureError(f"there are {len(asked)} prompts and {len(given)} outputs; give one of each for a request.")
    return float(np.mean(asked * given) / given.mean() + np.mean(given * (given - 1)) / (2 * given.mean()))


def kv_bytes_per_token(layers: int, kv_heads: int, head_size: int, bytes_per_value: float = 2.0) -> float:
    """Bytes of KV cache a position takes: keys and values, 2 × layers × kv_heads × head_size × bytes.

    OPT-13B in fp16: 2 × 40 × 40 × 128 × 2 = 819,200 bytes. Raises MeasureError for anything not above 0.
    """
    heads = whole("layers", layers) * whole("kv_heads", kv_heads) * whole("head_size", head_size)
    return 2.0 * heads * number("bytes_per_value", bytes_per_value)


def decode_floor(
    batch: int, *, weight_bytes: float, kv_bytes: float, parameters: float, bandwidth: float, flops: float
) -> float:
    """The least seconds that a decode iteration can take: max((weights + KV bytes)/bandwidth, 2·parameters·B/FLOPS).

    Every forward pass reads all weights once, whatever the batch, and the KV cache of everybody in it; each token costs
    two operations a parameter (attention's own are left out). Below the batch where both terms meet, more rows are
    almost free: that is why batching pays (the roofline model: Williams, Waterman & Patterson, CACM 52, 2009).

    Parameters
    ----------
    batch
        B, rows that decode, at least 1.
    weight_bytes, kv_bytes
        Bytes read: all weights, and the cached keys and values of the whole batch. KV may be 0.
    parameters
        Those that take part in a forward pass.
    bandwidth
        Bytes a second between the device's memory and its compute units.
    flops
        Operations a second.

    Raises
    ------
    MeasureError
        Anything negative, zero where it must not be, or not finite.
    """
    moved = number("weight_bytes", weight_bytes) + number("kv_bytes", kv_bytes, or_equal=True)
    work = 2 * number("parameters", parameters) * whole("batch", batch)
    return max(moved / number("bandwidth", bandwidth), work / number("flops", flops))
