"""What prompts need around FlashAttention: queries and keys rotated, keys and values written to the cache, at once.

Positions reach a model as rotations of pairs of numbers in its queries and keys (RoFormer, Su et al. 2021, §3.4.2); a
pair is a number of a head's first half and its like in the second half, as GPT-NeoX has it and Llama after it. The
work is next to nothing, and a launch takes as long as it: so decoding rows have it done where their attention reads
queries and keys (`rotated`), and prompts in the launch that fills the cache. A program takes some heads of one token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.cuda.kernels import check_cache, jit, tl, triton
from cbviz.errors import EngineError


def place(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    slot_mapping: Tensor,
    rotary: tuple[Tensor, Tensor] | None = None,
    *,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys, and write keys and values into one layer of the cache, in one launch.

    Parameters
    ----------
    query
        [T, query heads, head size]; rotated, its last dimension must be contiguous.
    key, value
        [T, KV heads, head size], of any strides: slices of a fused projection and transposed views need no copy. A key
        that is rotated must be contiguous in its last dimension.
    keys, values
        [cache positions, KV heads, head size], contiguous.
    slot_mapping
        int32 or int64 [T]: the cache position of each token; a token with a negative one is not written.
    rotary
        Cosines and sines, [T, head size] each, the last dimension contiguous. None leaves queries and keys as they are.
    first
        Tokens before this one are left alone: they are not written, and their rotated numbers are undefined.

    Returns
    -------
    tuple of Tensor
        Queries and keys, rotated in float32 and contiguous; `query` and `key` themselves without `rotary`.

    Raises
    ------
    EngineError
        The shapes do not fit each other, a dimension is not contiguous that must be, or there is no Triton.
    """
    check_cache(keys, values)
    tokens, kv_heads, size = key.shape
    fit = key.shape == value.shape and keys.shape[1:] == (kv_heads, size) and slot_mapping.shape == (tokens,)
    if not fit or query.shape[::2] != (tokens, size):
        raise EngineError(
            f"queries {tuple(query.shape)}, keys {tuple(key.shape)}, values {tuple(value.shape)} and positions "
            f"{tuple(slot_mapping.shape)} do not fit a cache of {tuple(keys.shape)}."
        )
    turned = query, key
    cos, sin = (key, key) if rotary is None else rotary
    if rotary is not None:
        if not cos.shape == sin.shape == (tokens, size) or size % 2:
            raise EngineError(
                f"cosines {tuple(cos.shape)} and sines {tuple(sin.shape)} do not fit {tuple(key.shape)}: they must be "
                f"{(tokens, size)}, the second an even number."
            )
        if not query.stride(2) == key.stride(2) == cos.stride(1) == sin.stride(1) == 1:
            raise EngineError("what is rotated, cosines and sines must be contiguous in their last dimension.")
        query_out, key_out = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (query, key))
        turned = query_out, key_out
    if tokens <= first:
        return turned
    width = triton.next_power_of_2(size)
    widest = kv_heads if rotary is None else query.shape[1]
    heads_a_program = min(triton.next_power_of_2(widest), max(1, 2048 // width))
    kv_programs = triton.cdiv(kv_heads, heads_a_program)
    query_programs = 0 if rotary is None else triton.cdiv(query.shape[1], heads_a_program)
    with torch.cuda.device_of(keys):  # type: ignore[no-untyped-call]
        _place_kernel[(tokens - first, kv_programs + query_programs)](
            query, key, value, cos, sin, *turned, keys, values, slot_mapping, first,
            *query.stride()[:2], *key.stride(), *value.stride(), cos.stride(0), sin.stride(0),
            query_heads=query.shape[1], kv_heads=kv_heads, size=size, heads_a_program=heads_a_program,
            kv_programs=kv_programs, width=width, rotary=rotary is not None,
        )  # fmt: skip
    return turned


@jit
def rotated(
    x: tl.tensor, cos: tl.tensor, sin: tl.tensor, number: tl.tensor, real: tl.tensor, size: tl.constexpr
) -> tl.tensor:
    """The numbers `number` of the heads at `x`, rotated, in their own type; 0 where they are not `real`."""
    half: tl.constexpr = size // 2
    other = tl.where(number < half, number + half, number - half)
    sign = tl.where(number < half, -1.0, 1.0)
    mine = tl.load(x + number, mask=real, other=0.0)
    its = tl.load(x + other, mask=real, other=0.0)
    c = tl.load(cos + number, mask=number < size, other=0.0).to(tl.float32)
    s = tl.load(sin + number, mask=number < size, other=0.0).to(tl.float32)
    return (mine.to(tl.float32) * c + its.to(tl.float32) * s * sign).to(mine.dtype)


@jit
def _place_kernel(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    query_out: tl.tensor,
    key_out: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    slot_mapping: tl.tensor,
    first: tl.tensor,
    query_token: tl.tensor,
    query_head: tl.tensor,
    key_token: tl.tensor,
    key_head: tl.tensor,
    key_number: tl.tensor,
    value_token: tl.tensor,
    value_head: tl.tensor,
    value_number: tl.tensor,
    cos_token: tl.tensor,
    sin_token: tl.tensor,
    query_heads: tl.constexpr,
    kv_heads: tl.constexpr,
    size: tl.constexpr,
    heads_a_program: tl.constexpr,
    kv_programs: tl.constexpr,
    width: tl.constexpr,
    rotary: tl.constexpr,
) -> None:
    """The first programs of a token take its keys and values, the others, if it is rotated, its queries."""
    token = tl.program_id(0).to(tl.int64) + first
    part = tl.program_id(1)
    number = tl.arange(0, width)[None, :]
    some = tl.arange(0, heads_a_program)[:, None]
    if part < kv_programs:
        head = part * heads_a_program + some
        real = (head < kv_heads) & (number < size)
        if rotary:
            k = rotated(
                key + token * key_token + head * key_head, cos + token * cos_token, sin + token * sin_token, number,
                real, size,
            )  # fmt: skip
            tl.store(key_out + token * (kv_heads * size) + head * size + number, k, mask=real)
        else:
            k = tl.load(key + token * key_token + head * key_head + number * key_number, mask=real)
        v = tl.load(value + token * value_token + head * value_head + number * value_number, mask=real)
        position = tl.load(slot_mapping + token).to(tl.int64)
        there = position * (kv_heads * size) + head * size + number
        tl.store(keys + there, k, mask=real & (position >= 0))
        tl.store(values + there, v, mask=real & (position >= 0))
    elif rotary:
        head = (part - kv_programs) * heads_a_program + some
        real = (head < query_heads) & (number < size)
        q = rotated(
            query + token * query_token + head * query_head, cos + token * cos_token, sin + token * sin_token, number,
            real, size,
        )  # fmt: skip
        tl.store(query_out + token * (query_heads * size) + head * size + number, q, mask=real)
