"""Short prompts in one kernel: rotated, written to the cache, attended to.

FlashAttention is made for prompts that keep a GPU's multipliers busy. A prompt of a hundred tokens keeps them busy for
a microsecond, and the launches around it take ten. Here a program takes some tokens of one prompt and one query head,
and walks the prompt up to them tile by tile with a running maximum (FlashAttention, Dao et al. 2022, §3.1). Keys are
rotated wherever they are read: that is little work, and one launch less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.cuda.kernels import check_cache, jit, padded, tl, triton
from cbviz.cuda.triton_prompt import rotated
from cbviz.errors import EngineError

SHORT_PROMPT = 128
"""Tokens up to which this is faster than FlashAttention (`benchmarks/choices.py`)."""
LARGEST_HEAD = 128
TILE = 64
"""Tokens of a program, and of the keys that it reads at once."""
WARPS = 8


def is_short(query: Tensor, longest: int) -> bool:
    """Whether prompts of at most so many tokens with such queries are served better here than by FlashAttention."""
    return longest <= SHORT_PROMPT and query.shape[-1] <= LARGEST_HEAD


def attend_short(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    slot_mapping: Tensor,
    cu_seqlens: Tensor,
    rotary: tuple[Tensor, Tensor] | None = None,
    *,
    longest: int,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """Attend with every token of some prompts to its own prompt up to itself, and fill one layer of the cache.

    Parameters
    ----------
    query
        [T, query heads, head size], the last dimension contiguous, as for `key` and `value`.
    key, value
        [T, KV heads, head size].
    keys, values
        [cache positions, KV heads, head size], contiguous: where to write.
    slot_mapping
        int32 or int64 [T]: the cache position of each token; a token with a negative one is not written.
    cu_seqlens
        int32 [prompts + 1]: where each prompt's tokens begin. Tokens outside all prompts are left alone.
    rotary
        Cosines and sines of queries and keys that are still to be rotated, [T, head size] each; None if none are.
    longest
        No prompt has more tokens.
    scale
        Factor on the dot products.
    window
        Sliding window: only the last `window` positions are seen. None sees all.

    Returns
    -------
    Tensor
        [T, query heads, head size]; numbers of tokens outside all prompts are undefined.

    Raises
    ------
    EngineError
        The shapes do not fit each other, a dimension is not contiguous that must be, or there is no Triton.
    """
    check_cache(keys, values)
    tokens, heads, size = query.shape
    kv_heads = keys.shape[1]
    cos, sin = (query[:, 0], query[:, 0]) if rotary is None else rotary
    fit = key.shape == value.shape == (tokens, kv_heads, size) and slot_mapping.shape == (tokens,)
    if not fit or keys.shape[2] != size or heads % kv_heads or not cos.shape == sin.shape == (tokens, size):
        raise EngineError(
            f"queries {tuple(query.shape)}, keys {tuple(key.shape)}, values {tuple(value.shape)}, cosines "
            f"{tuple(cos.shape)} and positions {tuple(slot_mapping.shape)} do not fit a cache of {tuple(keys.shape)}."
        )
    if any(x.stride(-1) != 1 for x in (query, key, value, cos, sin)):
        raise EngineError("queries, keys, values, cosines and sines must be contiguous in their last dimension.")
    out = torch.empty((tokens, heads, size), dtype=query.dtype, device=query.device)
    with torch.cuda.device_of(keys):  # type: ignore[no-untyped-call]
        _short_kernel[(triton.cdiv(longest, TILE), heads, len(cu_seqlens) - 1)](
            query, key, value, cos, sin, keys, values, slot_mapping, cu_seqlens, out,
            scale * 1.4426950408889634,  # log2(e): the kernel exponentiates by powers of 2
            *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], cos.stride(0), sin.stride(0),
            group=heads // kv_heads, kv_heads=kv_heads, size=size, width=padded(size), tile=TILE, window=window or 0,
            rotary=rotary is not None, num_warps=WARPS,
        )  # fmt: skip
    return out


@jit
def _short_kernel(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    slot_mapping: tl.tensor,
    cu_seqlens: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    query_token: tl.tensor,
    query_head: tl.tensor,
    key_token: tl.tensor,
    key_head: tl.tensor,
    value_token: tl.tensor,
    value_head: tl.tensor,
    cos_token: tl.tensor,
    sin_token: tl.tensor,
    group: tl.constexpr,
    kv_heads: tl.constexpr,
    size: tl.constexpr,
    width: tl.constexpr,
    tile: tl.constexpr,
    window: tl.constexpr,
    rotary: tl.constexpr,
) -> None:
    """A program attends with one head of `tile` tokens; that of a group's first head also writes their keys."""
    block = tl.program_id(0)
    head = tl.program_id(1)
    prompt = tl.program_id(2)
    begin = tl.load(cu_seqlens + prompt).to(tl.int64)
    length = tl.load(cu_seqlens + prompt + 1).to(tl.int64) - begin
    asking = block * tile + tl.arange(0, tile)
    number = tl.arange(0, width)[None, :]
    if block * tile < length:
        real = (asking < length)[:, None] & (number < size)
        # Beyond a prompt's end its last token is read again, and counts for nothing.
        token = (begin + tl.minimum(asking, length - 1))[:, None]
        q_there = query + token * query_token + head * query_head
        if rotary:
            q = rotated(q_there, cos + token * cos_token, sin + token * sin_token, number, real, size)
        else:
            q = tl.load(q_there + number, mask=real, other=0.0)
        kv_head = head // group
        largest = tl.full([tile], float("-inf"), tl.float32)
        total = tl.zeros([tile], tl.float32)
        sums = tl.zeros([tile, width], tl.float32)
        first = 0
        if window > 0:
            first = tl.maximum(block * tile - window + 1, 0) // tile
        for i in tl.range(first, block + 1):
            position = i * tile + tl.arange(0, tile)
            there = (begin + tl.minimum(position, length - 1))[:, None]
            known = (position < length)[:, None] & (number < size)
            k_there = key + there * key_token + kv_head * key_head
            if rotary:
                k = rotated(k_there, cos + there * cos_token, sin + there * sin_token, number, known, size)
            else:
                k = tl.load(k_there + number, mask=known, other=0.0)
            v = tl.load(value + there * value_token + kv_head * value_head + number, mask=known, other=0.0)
            if (i == block) & (head % group == 0):
                cached = tl.load(slot_mapping + there).to(tl.int64)
                put = cached * (kv_heads * size) + kv_head * size + number
                tl.store(keys + put, k, mask=known & (cached >= 0))
                tl.store(values + put, v, mask=known & (cached >= 0))
            visible = position[None, :] <= asking[:, None]
            if window > 0:
                visible &= position[None, :] > asking[:, None] - window
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            scores = tl.where(visible, scores, float("-inf"))
            largest_now = tl.maximum(largest, tl.max(scores, 1))
            reached = tl.where(largest_now > float("-inf"), largest_now, 0.0)  # a tile may hide all from a token
            shrink = tl.exp2(largest - reached)
            p = tl.exp2(scores - reached[:, None])
            total = total * shrink + tl.sum(p, 1)
            sums = sums * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
            largest = largest_now
        put_out = out + token * (kv_heads * group * size) + head * size + number
        tl.store(put_out, (sums / total[:, None]).to(out.dtype.element_ty), mask=real)
