"""New keys and values into the cache, as a Triton kernel: a program takes some heads of one token."""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.cuda.kernels import check_cache, jit, tl, triton
from cbviz.errors import EngineError


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
