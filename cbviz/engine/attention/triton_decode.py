"""Decode attention as a Triton kernel: one query token a row, keys and values read where they lie.

Decoding is bound by memory: every cached key and value is read once and used for a handful of operations. So the kernel
has one aim, to keep reads in flight. A program takes one row, one KV head with all its query heads, and one share of
the row's context ("split KV", Flash-Decoding, Dao et al. 2023); it walks its share tile by tile with a running maximum
(the online softmax of Milakov and Gimelshein 2018, FlashAttention §3.1) and looks each tile's place up in the block
table (PagedAttention, SOSP'23, §4.1). Where a row has several shares, the program that finishes last weighs them
together: for a small model at few rows a second kernel would take as long as the first.

The row's own new key and value come from the forward pass, not from the cache: the first share takes them in when its
tiles are done, and puts them into the cache. Queries and new keys may come without their rotary embedding: it is done
here, for a kernel of its own would take as long as it takes to launch one.

Every length is read on the device, and what is launched depends on shapes alone: a CUDA graph may hold these calls.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from cbviz.engine.attention.kernels import check_cache, jit, padded, tl, triton
from cbviz.engine.attention.triton_rotary import rotated
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
            query,
            key,
            value,
            cos,
            sin,
            keys,
            values,
            tables,
            slot,
            context,
            out,
            shares,
            weight,
            out if arrivals is None else arrivals,
            scale * 1.4426950408889634,  # log2(e): the kernel exponentiates by powers of 2
            query.stride(0),
            query.stride(1),
            key.stride(0),
            key.stride(1),
            value.stride(0),
            value.stride(1),
            cos.stride(0),
            sin.stride(0),
            tables.stride(0),
            out.stride(0),
            out.stride(1),
            kv_heads=kv_heads,
            group=group,
            group_rows=padded(group),
            size=size,
            width=width,
            block_size=block_size,
            tile=launch.tile,
            window=window or 0,
            splits=splits,
            splits_width=triton.next_power_of_2(splits),
            merge_rows=triton.next_power_of_2(group),
            newest=newest is not None,
            rotary=rotary is not None,
            overlap=overlap,
            **({"launch_pdl": True} if overlap else {}),
            num_warps=launch.warps,
            num_stages=launch.stages,
        )
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


@jit
def _decode_kernel(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    tables: tl.tensor,
    slot: tl.tensor,
    context: tl.tensor,
    out: tl.tensor,
    shares: tl.tensor,
    weight: tl.tensor,
    arrivals: tl.tensor,
    scale: tl.tensor,
    query_row: tl.tensor,
    query_head: tl.tensor,
    key_row: tl.tensor,
    key_head: tl.tensor,
    value_row: tl.tensor,
    value_head: tl.tensor,
    cos_row: tl.tensor,
    sin_row: tl.tensor,
    table_row: tl.tensor,
    out_row: tl.tensor,
    out_head: tl.tensor,
    kv_heads: tl.constexpr,
    group: tl.constexpr,
    group_rows: tl.constexpr,
    size: tl.constexpr,
    width: tl.constexpr,
    block_size: tl.constexpr,
    tile: tl.constexpr,
    window: tl.constexpr,
    splits: tl.constexpr,
    splits_width: tl.constexpr,
    merge_rows: tl.constexpr,
    newest: tl.constexpr,
    rotary: tl.constexpr,
    overlap: tl.constexpr,
) -> None:
    """A program attends for one row and one KV head to one share of the context."""
    kv_head = tl.program_id(0)
    split = tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    length = tl.load(context + row).to(tl.int32)
    table = tables + tl.load(slot + row).to(tl.int64) * table_row
    if overlap:  # what comes next is the kernel's before; lengths and tables are older
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()

    number = tl.arange(0, width)
    step = tl.arange(0, tile)
    cosines, sines = cos + row * cos_row, sin + row * sin_row
    few = tl.arange(0, merge_rows)  # the group's queries, up to a power of 2: what is rotated stays short
    asking = query + row * query_row + (kv_head * group + few)[:, None] * query_head
    asked = (few < group)[:, None] & (number < size)[None, :]
    if rotary:
        q_few = rotated(asking, cosines, sines, number[None, :], asked, size)
    else:
        q_few = tl.load(asking + number[None, :], mask=asked, other=0.0)
    # `tl.dot` wants 16 rows: every query stands there several times, and its first place counts.
    copies: tl.constexpr = group_rows // merge_rows
    q = tl.reshape(tl.broadcast_to(q_few[:, None, :], [merge_rows, copies, width]), [group_rows, width])
    place_in_group = tl.arange(0, group_rows)
    member = place_in_group // copies
    counts = (member < group) & (place_in_group % copies == 0)
    head = kv_head * group + member
    real = counts[:, None] & (number < size)[None, :]

    cached_length = length
    if newest:
        # Asked for now and used behind the loop, so that nothing here holds up the first tiles.
        cached_length = tl.maximum(length - 1, 0)
        own = number < size
        k_there = key + row * key_row + kv_head * key_head
        if rotary:
            k_own = rotated(k_there, cosines, sines, number, own, size)
        else:
            k_own = tl.load(k_there + number, mask=own, other=0.0)
        v_own = tl.load(value + row * value_row + kv_head * value_head + number, mask=own, other=0.0)
        block_own = tl.load(table + cached_length // block_size).to(tl.int64)
        score_few = tl.sum(q_few.to(tl.float32) * k_own.to(tl.float32)[None, :], 1) * scale
        score_own = tl.reshape(tl.broadcast_to(score_few[:, None], [merge_rows, copies]), [group_rows])

    largest = tl.full([group_rows], float("-inf"), tl.float32)
    total = tl.zeros([group_rows], tl.float32)
    sums = tl.zeros([group_rows, width], tl.float32)
    # Of the tiles that hold anything visible, every split takes an equal share; the last ones may go without.
    oldest = 0
    if window > 0:
        oldest = tl.maximum(length - window, 0)
    first_tile = oldest // tile
    last_tile = tl.cdiv(cached_length, tile)
    share = tl.cdiv(last_tile - first_tile, splits)
    begin = first_tile + split * share
    end = tl.minimum(begin + share, last_tile)
    for i in tl.range(begin, end):
        position = i * tile + step
        visible = position < cached_length
        if window > 0:
            visible &= position >= oldest
        if block_size % tile == 0:  # the tile lies in one block: one lookup
            block = tl.load(table + i * tile // block_size).to(tl.int64)
            cached = block * block_size + i * tile % block_size + step
        else:
            block = tl.load(table + position // block_size, mask=visible, other=0).to(tl.int64)
            cached = block * block_size + position % block_size
        place = cached * (kv_heads * size) + kv_head * size
        k = tl.load(
            keys + place[None, :] + number[:, None], mask=visible[None, :] & (number < size)[:, None], other=0.0
        )
        scores = tl.dot(q, k, input_precision="ieee") * scale
        scores = tl.where(visible[None, :], scores, float("-inf"))
        largest_now = tl.maximum(largest, tl.max(scores, 1))
        shrink = tl.exp2(largest - largest_now)
        p = tl.exp2(scores - largest_now[:, None])
        total = total * shrink + tl.sum(p, 1)
        # What lies behind the context may be anything, and even a weight of 0 would not hide a NaN.
        v = tl.load(
            values + place[:, None] + number[None, :], mask=visible[:, None] & (number < size)[None, :], other=0.0
        )
        sums = sums * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        largest = largest_now
    if newest:  # noqa: SIM102 - known when the kernel is compiled; what follows is not
        if (split == 0) & (length > 0):
            largest_now = tl.maximum(largest, score_own)
            shrink = tl.exp2(largest - largest_now)
            p_own = tl.exp2(score_own - largest_now)
            total = total * shrink + p_own
            sums = sums * shrink[:, None] + p_own[:, None] * v_own.to(tl.float32)[None, :]
            largest = largest_now
            there_own = ((block_own * block_size + cached_length % block_size) * kv_heads + kv_head) * size + number
            tl.store(keys + there_own, k_own, mask=own)
            tl.store(values + there_own, v_own, mask=own)
    average = tl.where(total[:, None] > 0, sums / total[:, None], 0.0)

    if splits == 1:
        there = out + row * out_row + head[:, None] * out_head + number[None, :]
        tl.store(there, average.to(out.dtype.element_ty), mask=real)
    else:
        index = (row * (kv_heads * group) + head) * splits + split
        tl.store(shares + index[:, None] * size + number[None, :], average, mask=real)
        # The logarithm of the share's weight; minus infinity for a share that saw nothing.
        tl.store(weight + index, largest + tl.log2(total), mask=counts)
        # All threads' shares are written before this program counts itself; whoever counts last sees all of them.
        tl.debug_barrier()
        counter = arrivals + row * kv_heads + kv_head
        if tl.atomic_add(counter, 1, sem="acq_rel") == splits - 1:
            tl.store(counter, 0)
            first = row * (kv_heads * group) + kv_head * group
            there = out + row * out_row + kv_head * group * out_head
            _merge(shares, weight, there, out_head, first, group, merge_rows, splits, splits_width, size, width)


@jit
def _merge(
    shares: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    out_head: tl.tensor,
    first: tl.tensor,
    group: tl.constexpr,
    group_rows: tl.constexpr,
    splits: tl.constexpr,
    splits_width: tl.constexpr,
    size: tl.constexpr,
    width: tl.constexpr,
) -> None:
    """Weigh the shares of the query heads from `first` on. Other programs wrote them, so no L1 may answer (.cg)."""
    member = tl.arange(0, group_rows)
    split = tl.arange(0, splits_width)
    number = tl.arange(0, width)
    real = (member < group)[:, None] & (number < size)[None, :]
    weights = weight + (first + member) * splits
    known = (member < group)[:, None] & (split < splits)[None, :]
    each = tl.load(weights[:, None] + split[None, :], mask=known, other=float("-inf"), cache_modifier=".cg")
    largest = tl.max(each, 1)
    total = tl.zeros([group_rows], tl.float32)
    sums = tl.zeros([group_rows, width], tl.float32)
    for i in tl.static_range(splits):  # unrolled, so that all loads are under way at once
        log_weight = tl.load(weights + i, mask=member < group, other=float("-inf"), cache_modifier=".cg")
        mine = shares + ((first + member) * splits + i)[:, None] * size + number[None, :]
        share = tl.load(mine, mask=real, other=0.0, cache_modifier=".cg")
        w = tl.where(log_weight > float("-inf"), tl.exp2(log_weight - largest), 0.0)
        total += w
        sums += share * w[:, None]
    average = tl.where(total[:, None] > 0, sums / total[:, None], 0.0)
    tl.store(out + member[:, None] * out_head + number[None, :], average.to(out.dtype.element_ty), mask=real)
