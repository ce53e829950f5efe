"""What prompts need around FlashAttention: their keys rotated and written to the cache, by a Triton kernel each.

Positions reach a model as rotations of pairs of numbers in its queries and keys (RoFormer, Su et al. 2021, §3.4.2); a
pair is a number of a head's first half and its like in the second half, as GPT-NeoX has it and Llama after it. The
work is next to nothing, so decoding rows have it done where their attention reads queries and keys (`rotated`), and
prompts in one launch for queries and one for keys. A program takes some heads of one token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.cuda.kernels import check_cache, jit, need_triton, tl, triton
from cbviz.errors import EngineError


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys.

    Parameters
    ----------
    x
        [T, heads, head size]; the last dimension contiguous, the others of any stride.
    cos, sin
        [T, head size]; the last dimension contiguous.

    Returns
    -------
    Tensor
        Like x, contiguous. Computed in float32.

    Raises
    ------
    EngineError
        The shapes do not fit each other, a last dimension is not contiguous, or there is no Triton.
    """
    need_triton()
    tokens, heads, size = x.shape
    if not cos.shape == sin.shape == (tokens, size) or size % 2:
        raise EngineError(
            f"cosines {tuple(cos.shape)} and sines {tuple(sin.shape)} do not fit {tuple(x.shape)}: they must be "
            f"{(tokens, size)}, the second an even number."
        )
    if not x.stride(2) == cos.stride(1) == sin.stride(1) == 1:
        raise EngineError("what is rotated, cosines and sines must be contiguous in their last dimension.")
    out = torch.empty((tokens, heads, size), dtype=x.dtype, device=x.device)
    if tokens == 0:
        return out
    width = triton.next_power_of_2(size)
    heads_a_program = min(triton.next_power_of_2(heads), max(1, 2048 // width))
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _rotate_kernel[(tokens, triton.cdiv(heads, heads_a_program))](
            x,
            cos,
            sin,
            out,
            x.stride(0),
            x.stride(1),
            cos.stride(0),
            sin.stride(0),
            heads=heads,
            size=size,
            heads_a_program=heads_a_program,
            width=width,
        )
    return out


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
def _rotate_kernel(
    x: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    out: tl.tensor,
    x_token: tl.tensor,
    x_head: tl.tensor,
    cos_token: tl.tensor,
    sin_token: tl.tensor,
    heads: tl.constexpr,
    size: tl.constexpr,
    heads_a_program: tl.constexpr,
    width: tl.constexpr,
) -> None:
    """A program rotates some heads of one token."""
    token = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * heads_a_program + tl.arange(0, heads_a_program))[:, None]
    number = tl.arange(0, width)[None, :]
    real = (head < heads) & (number < size)
    there = x + token * x_token + head * x_head
    turned = rotated(there, cos + token * cos_token, sin + token * sin_token, number, real, size)
    tl.store(out + token * (heads * size) + head * size + number, turned, mask=real)


def store(keys_new: Tensor, values_new: Tensor, keys: Tensor, values: Tensor, slot_mapping: Tensor) -> None:
    """Write new keys and values into one layer of the cache, in place.

    Parameters
    ----------
    keys_new, values_new
        [T, KV heads, head size], of any strides: slices of a fused projection and transposed views need no copy.
    keys, values
        [cache positions, KV heads, head size], contiguous.
    slot_mapping
        int32 or int64 [T]: the cache position of each token; a token with a negative one is not written.

    Raises
    ------
    EngineError
        The shapes do not fit each other, or the cache is not contiguous.
    """
    check_cache(keys, values)
    tokens, heads, size = keys_new.shape
    if keys_new.shape != values_new.shape or keys.shape[1:] != (heads, size) or slot_mapping.shape != (tokens,):
        raise EngineError(
            f"keys {tuple(keys_new.shape)}, values {tuple(values_new.shape)} and positions {tuple(slot_mapping.shape)} "
            f"do not fit a cache of {tuple(keys.shape)}."
        )
    if tokens == 0:
        return
    width = triton.next_power_of_2(size)
    heads_a_program = min(triton.next_power_of_2(heads), max(1, 1024 // width))
    with torch.cuda.device_of(keys):  # type: ignore[no-untyped-call]
        _store_kernel[(tokens, triton.cdiv(heads, heads_a_program))](
            keys_new,
            values_new,
            keys,
            values,
            slot_mapping,
            *keys_new.stride(),
            *values_new.stride(),
            heads=heads,
            size=size,
            heads_a_program=heads_a_program,
            width=width,
        )


@jit
def _store_kernel(
    keys_new: tl.tensor,
    values_new: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    slot_mapping: tl.tensor,
    keys_token: tl.tensor,
    keys_head: tl.tensor,
    keys_number: tl.tensor,
    values_token: tl.tensor,
    values_head: tl.tensor,
    values_number: tl.tensor,
    heads: tl.constexpr,
    size: tl.constexpr,
    heads_a_program: tl.constexpr,
    width: tl.constexpr,
) -> None:
    """A program writes some heads of one token."""
    token = tl.program_id(0).to(tl.int64)
    position = tl.load(slot_mapping + token).to(tl.int64)
    head = (tl.program_id(1) * heads_a_program + tl.arange(0, heads_a_program))[:, None]
    number = tl.arange(0, width)[None, :]
    real = (head < heads) & (number < size) & (position >= 0)
    key = tl.load(keys_new + token * keys_token + head * keys_head + number * keys_number, mask=real)
    value = tl.load(values_new + token * values_token + head * values_head + number * values_number, mask=real)
    there = position * (heads * size) + head * size + number
    tl.store(keys + there, key, mask=real)
    tl.store(values + there, value, mask=real)
