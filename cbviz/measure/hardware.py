"""What memory and arithmetic allow: KV tokens per slot, and the least time of a decode iteration."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.checks import lengths_of, number, whole


def kv_tokens_per_busy_slot(prompts: Any, outputs: Any) -> float:
    """Mean KV positions in a busy slot: E[in·L]/E[L] + E[L(L−1)]/(2E[L]).

    A request of L output tokens keeps a slot busy for L iterations, and after the j-th (from 0) it has in + j
    positions: the last token's keys are never written. Averaged over iterations, long outputs count for more (the
    inspection paradox): exponential outputs hold about a full mean length, not half of one.

    It holds for unchunked prompts without held slots, and for paging with blocks of one token; larger blocks add about
    half a block.

    Parameters
    ----------
    prompts, outputs
        Lengths in tokens, at least 1; both have one entry per request.

    Returns
    -------
    float
        Mean positions per busy slot.

    Raises
    ------
    MeasureError
        A length is below 1, or the lists differ in length.

    Examples
    --------
    >>> from cbviz.measure import kv_tokens_per_busy_slot
    >>> kv_tokens_per_busy_slot([10, 10], [3, 3])  # 10, 11 and 12 positions
    11.0
    """
    asked, given = lengths_of("prompts", prompts), lengths_of("outputs", outputs)
    if len(asked) != len(given):
        raise MeasureError(f"there are {len(asked)} prompts and {len(given)} outputs; give one of each per request.")
    return float(np.mean(asked * given) / given.mean() + np.mean(given * (given - 1)) / (2 * given.mean()))


def kv_bytes_per_token(layers: int, kv_heads: int, head_size: int, bytes_per_value: float = 2.0) -> float:
    """Bytes of KV cache per position: keys and values, 2 × layers × kv_heads × head_size × bytes.

    Parameters
    ----------
    layers, kv_heads, head_size
        Shape of the model, each at least 1.
    bytes_per_value
        2 for 16 bits, 4 for 32.

    Returns
    -------
    float
        Bytes.

    Raises
    ------
    MeasureError
        An argument is not above 0.

    Examples
    --------
    OPT-13B in fp16:

    >>> from cbviz.measure import kv_bytes_per_token
    >>> kv_bytes_per_token(layers=40, kv_heads=40, head_size=128)
    819200.0
    """
    heads = whole("layers", layers) * whole("kv_heads", kv_heads) * whole("head_size", head_size)
    return 2.0 * heads * number("bytes_per_value", bytes_per_value)


def decode_floor(
    batch: int, *, weight_bytes: float, kv_bytes: float, parameters: float, bandwidth: float, flops: float
) -> float:
    """The least seconds that a decode iteration can take: max((weights + KV bytes)/bandwidth, 2·parameters·B/FLOPS).

    Every forward pass reads all weights once, whatever the batch, and the KV cache of every request in it; each token
    costs two operations per parameter (attention's own are left out). Below the batch at which both terms meet, more
    rows are almost free, which is why batching pays (the roofline model: Williams, Waterman & Patterson, CACM 52,
    2009).

    Parameters
    ----------
    batch
        B, decoding rows, at least 1.
    weight_bytes, kv_bytes
        Bytes read: all weights, and the cached keys and values of the whole batch. KV may be 0.
    parameters
        Those that take part in a forward pass.
    bandwidth
        Bytes per second between the device's memory and its compute units.
    flops
        Operations per second.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    MeasureError
        An argument is not finite, or out of range.

    Examples
    --------
    An 8B model in 16 bits on a GPU of 3 TB/s and 800 TFLOP/s: 1 row and 256 rows take equally long, 512 do not.

    >>> from cbviz.measure import decode_floor
    >>> gpu = {"weight_bytes": 16e9, "kv_bytes": 0, "parameters": 8e9, "bandwidth": 3e12, "flops": 800e12}
    >>> [f"{decode_floor(rows, **gpu) * 1e3:.1f} ms" for rows in (1, 256, 512)]
    ['5.3 ms', '5.3 ms', '10.2 ms']
    """
    moved = number("weight_bytes", weight_bytes) + number("kv_bytes", kv_bytes, or_equal=True)
    work = 2 * number("parameters", parameters) * whole("batch", batch)
    return max(moved / number("bandwidth", bandwidth), work / number("flops", flops))
