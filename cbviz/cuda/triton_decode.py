"""Decode attention as a Triton kernel: one query token a row, keys and values read where they lie.

Decoding is bound by memory: every cached key and value is read once and used for a handful of operations. So the kernel
(`triton_decode_kernel`) has one aim, to keep reads in flight. A program takes one row, one KV head with all its query
heads, and one share of the row's context ("split KV", Flash-Decoding, Dao et al. 2023). This file checks the arguments,
chooses the shares and launches.

The row's own new key and value come from the forward pass, not from the cache. Queries and new keys may come without
their rotary embedding: it is done here, for a kernel of its own would take as long as it takes to launch one.

Every length is read on the device, and what is launched depends on shapes alone: a CUDA graph may hold these calls.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from cbviz.cuda.kernels import check_cache, padded, triton
from cbviz.cuda.triton_decode_kernel import _decode_kernel
from cbviz.errors import EngineError

_MOST_SPLITS = 32
"""Of more shares the merge would cost what the splitting gains."""


def decode(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Tensor,
    slot: Tensor,
    context: Tensor,
    *,
    block_size: int,
    scale: float,
    newest: tuple[Tensor, Tensor] | None = None,
    rotary: tuple[Tensor, Tensor] | None = None,
    window: int | None = None,
    splits: int | None = None,
    launch: Launch | None = None,
    arrivals: Tensor | None = None,
    overlap: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Attend with one query token a row to the positions of its row up to its own.

    Parameters
    ----------
    query
        [R, query heads, head size]; the last dimension contiguous, the others of any stride.
    keys, values
        [cache positions, KV heads, head size], contiguous: one layer. Query heads are a multiple of the KV heads and
        share them in order (grouped-query attention, Ainslie et al. 2023).
    tables
        int32 [slots, blocks]: the KV block of every `block_size` positions of a slot; only what its context needs is
        read.
    slot
        int32 or int64 [R]: the table row that each row uses.
    context
        int32 or int64 [R]: each row's cached positions, the new one included; a row with 0 is idle and gets zeros.
    block_size
        Positions in a KV block.
    scale
        Factor on the dot products.
    newest
        The rows' own new keys and values, [R, KV heads, head size] each, the last dimension contiguous: they are
        written to the cache, at position context - 1. None says that they lie there already.
    rotary
        Cosines and sines of the rows' positions, [R, head size] each, the last dimension contiguous: queries and new
        keys come without their rotary embedding (RoFormer, Su et al. 2021, §3.4.2, in the halves of GPT-NeoX). None
        says that they have it, or need none.
    window
        Sliding window: only the last `window` positions are seen. None sees all.
    splits
        Shares of a row's context that run side by side; None takes the launch's.
    launch
        How to launch; None chooses by `plan`.
    arrivals
        int32 [at least R × KV heads], zeros, and zeros again afterwards: where the shares of a row count themselves.
        Calls that may overlap must not share it. None takes a new one.
    overlap
        Begin while the kernel before is still at work, and let the next one begin (programmatic dependent launch, from
        compute capability 9.0 on): right only where the kernel before made neither `slot`, `context` nor `tables`.
    out
        Where to write; any strides but a contiguous last dimension. None takes a new tensor.

    Returns
    -------
    Tensor
        [R, query heads, head size] in the query's dtype. Products are summed in float32.

    Raises
    ------
    EngineError
        The shapes do not fit each other, or a tensor is not contiguous where it must be.
    """
    check_cache(keys, values)
    rows, query_heads, size = query.shape
    kv_heads = keys.shape[1]
    if keys.shape[2] != size or query_heads % kv_heads or slot.shape != (rows,) or context.shape != (rows,):
        raise EngineError(
            f"queries {tuple(query.shape)}, slots {tuple(slot.shape)} and contexts {tuple(context.shape)} "
            f"do not fit a cache of {tuple(keys.shape)}."
        )
    out = torch.empty((rows, query_heads, size), dtype=query.dtype, device=query.device) if out is None else out
    if query.stride(2) != 1 or out.stride(2) != 1 or tables.stride(1) != 1 or out.shape != query.shape:
        raise EngineError("queries, outputs and block tables must be contiguous in their last dimension.")
    key, value = (query, query) if newest is None else newest
    if newest is not None and not (
        key.shape == value.shape == (rows, kv_heads, size) and key.stride(2) == value.stride(2) == 1
    ):
        raise EngineError(
            f"new keys {tuple(key.shape)} and values {tuple(value.shape)} must be {(rows, kv_heads, size)}, "
            f"contiguous in their last dimension."
        )
    cos, sin = (query, query) if rotary is None else rotary
    if rotary is not None and not (cos.shape == sin.shape == (rows, size) and cos.stride(1) == sin.stride(1) == 1):
        raise EngineError(
            f"cosines {tuple(cos.shape)} and sines {tuple(sin.shape)} must be {(rows, size)}, contiguous in their last "
            f"dimension."
        )
    if rotary is not None and size % 2:
        raise EngineError(f"heads of {size} numbers cannot be rotated: it takes pairs, so an even number.")
    if rows == 0:
        return out
    group = query_heads // kv_heads
    launch = launch or plan(
        rows,
        kv_heads,
        group=group,
        head_size=size,
        itemsize=keys.element_size(),
        block_size=block_size,
        context=tables.shape[1] * block_size,
        processors=_processors(query.device),
    )
    splits = launch.splits if splits is None else splits
    width = padded(size)
    # With one share a row the kernel writes the result itself, and nothing is left to merge.
    shares = weight = out
    if splits > 1:
        shares = torch.empty((rows, query_heads, splits, size), dtype=torch.float32, device=query.device)
        weight = torch.empty((rows, query_heads, splits), dtype=torch.float32, device=query.device)
        if arrivals is None:
            arrivals = torch.zeros(rows * kv_heads, dtype=torch.int32, device=query.device)
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]
        _decode_kernel[(kv_heads, splits, rows)](
            query, key, value, cos, sin, keys, values, tables, slot, context,
            out, shares, weight, out if arrivals is None else arrivals,
            scale * 1.4426950408889634,  # log2(e): the kernel exponentiates by powers of 2
            *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], cos.stride(0), sin.stride(0),
            tables.stride(0), *out.stride()[:2],
            kv_heads=kv_heads, group=group, group_rows=padded(group), size=size, width=width, block_size=block_size,
            tile=launch.tile, window=window or 0, splits=splits, splits_width=triton.next_power_of_2(splits),
            merge_rows=triton.next_power_of_2(group), newest=newest is not None, rotary=rotary is not None,
            overlap=overlap, **({"launch_pdl": True} if overlap else {}),
            num_warps=launch.warps, num_stages=launch.stages,
        )  # fmt: skip
    return out


class Launch(NamedTuple):
    """How the decode kernel is launched."""

    tile: int
    """Positions read at once."""
    splits: int
    """Shares of a row's context."""
    stages: int
    """Depth of Triton's software pipeline."""
    warps: int
    """Warps of 32 threads a program."""


def plan(
    rows: int,
    kv_heads: int,
    *,
    group: int,
    head_size: int,
    itemsize: int,
    block_size: int,
    context: int,
    processors: int,
) -> Launch:
    """Choose how to launch, from shapes alone, so that a captured graph never has to change.

    The rule is what `benchmarks/attention.py` found on an H100; `benchmarks/results/attention_h100.json` has it all.

    - A tile that lies in one block needs one lookup, and then few threads suffice: 32 positions, or 16 in blocks of 16.
    - The lookup takes stages of Triton's pipeline for itself: 3 stages keep one tile in flight, 5 two, 7 three, 9 four.
    - Splits pay while there are too few programs to keep every multiprocessor busy; then the merge costs more.
    - Heads of up to 64 numbers want longer tiles, for a tile of the same bytes; where programs are many, a single warp
      over a short one is faster.

    Parameters
    ----------
    rows, kv_heads
        There are rows × KV heads pairs to work on.
    group
        Query heads that share a KV head.
    head_size, itemsize
        Numbers in a head, bytes in a number.
    block_size
        Positions in a KV block.
    context
        The longest context that the block tables have room for.
    processors
        Multiprocessors of the device.
    """
    room = 3 * processors // (rows * kv_heads)  # for so many shares of a row
    if head_size <= 64 and block_size % 32 == 0 and room < 2:
        tile, stages, warps = 32, 7, 1
    elif head_size <= 64:
        tile, stages, warps = 128, 3, 4
    elif block_size % 32 == 0:
        tile, stages, warps = 32, 5, 2
    elif block_size % 16 == 0:
        tile, stages, warps = 16, 9, 2
    else:
        tile, stages, warps = 32, 5, 4
    if padded(head_size) * itemsize > 512:
        stages = 3  # two tiles would not fit the shared memory of smaller GPUs
    # The running sums live in registers: more of them need more threads.
    warps = min(8, warps * max(1, padded(group) * padded(head_size) // 2048))
    useful = min(room, context // tile, _MOST_SPLITS)
    splits = 1 << max(0, useful.bit_length() - 1)  # the power of 2 at or below it
    return Launch(tile=tile, splits=splits, stages=stages, warps=warps)


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
