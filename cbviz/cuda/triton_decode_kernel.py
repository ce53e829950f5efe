"""The decode kernel of `triton_decode`, and the merge of a row's shares by the program that finishes last.

A program walks its share tile by tile with a running maximum (the online softmax of Milakov and Gimelshein 2018,
FlashAttention §3.1) and looks each tile's place up in the block table (PagedAttention, SOSP'23, §4.1). Where a row has
several shares, the program that finishes last weighs them together: for a small model at few rows a second kernel would
take as long as the first. The row's own new key and value are taken in by the first share when its tiles are done, and
put into the cache.
"""

from __future__ import annotations

from cbviz.cuda.kernels import jit, tl
from cbviz.cuda.triton_prompt import rotated


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
    # `tl.dot` wants 16 rows: every query is there several times, and its first place counts.
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
        # All threads' shares are written before this program counts itself; the one that counts last sees all of them.
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
