"""Swapped KV blocks: room in host memory for them, and the copies out of the cache and back into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cbviz.core.executor import Copies
from cbviz.errors import CapacityError

if TYPE_CHECKING:
    from cbviz.eager.kv_cache import KVCache

BLOCKS_A_COPY = 16
"""Blocks that are gathered at a time when they are swapped: what is gathered takes that much of the device's memory."""


def provide(cache: KVCache, blocks: int) -> int:
    """Make room in host memory for so many blocks of a cache; return the bytes of one.

    Raises
    ------
    CapacityError
        There is not that much host memory.
    """
    # One block lies in one piece, all its layers together, so that it moves in one copy.
    shape = (blocks, cache.block_size * cache.numbers)
    size = cache.block_size * cache.bytes_per_position
    if cache.host is None or cache.host.shape != shape:
        try:
            cache.host = None
            cache.host = torch.empty(shape, dtype=cache.keys[0].dtype, pin_memory=cache.keys[0].device.type == "cuda")
        except RuntimeError as error:
            raise CapacityError(
                f"host memory has no room to swap {blocks:,} KV blocks × {size:,} bytes = "
                f"{blocks * size / 2**30:.1f} GiB; ask for fewer swap_blocks."
            ) from error
    return size


def copy(cache: KVCache, out: Copies, back: Copies) -> None:
    """Copy blocks to host memory (pairs: block, host block), then others back (pairs: host block, block).

    Everything is queued on the device's current stream, behind the passes that wrote the blocks and before those that
    will read them; the host waits for nothing.
    """
    for begin in range(0, len(out), BLOCKS_A_COPY):
        _copy_out(cache, out[begin : begin + BLOCKS_A_COPY])
    for begin in range(0, len(back), BLOCKS_A_COPY):
        _copy_back(cache, back[begin : begin + BLOCKS_A_COPY])


def _copy_out(cache: KVCache, pairs: Copies) -> None:
    """Gather the blocks on the device, then one copy for each."""
    assert cache.host is not None
    positions = _positions(cache, [block for block, _ in pairs])
    staged = torch.cat([layer[positions].view(len(pairs), -1) for layer in _tensors(cache)], dim=1)
    for block, (_, target) in zip(staged, pairs, strict=True):
        cache.host[target].copy_(block, non_blocking=True)


def _copy_back(cache: KVCache, pairs: Copies) -> None:
    """One copy for each block, then spread them over the layers."""
    assert cache.host is not None
    positions = _positions(cache, [block for _, block in pairs])
    staged = torch.empty((len(pairs), cache.host.shape[1]), dtype=cache.host.dtype, device=positions.device)
    for block, (source, _) in zip(staged, pairs, strict=True):
        block.copy_(cache.host[source], non_blocking=True)
    parts = torch.split(staged, [cache.block_size * layer[0].numel() for layer in _tensors(cache)], dim=1)
    for layer, part in zip(_tensors(cache), parts, strict=True):
        layer.index_copy_(0, positions, part.reshape(len(positions), *layer.shape[1:]))


def _tensors(cache: KVCache) -> list[Tensor]:
    """Every layer's keys, each followed by the layer's values."""
    return [tensor for layer in zip(cache.keys, cache.values, strict=True) for tensor in layer]


def _positions(cache: KVCache, blocks: list[int]) -> Tensor:
    """int64 [blocks × block_size]: the flat positions of these blocks, one block after the other."""
    first = torch.tensor(blocks).unsqueeze(1) * cache.block_size
    positions = (first + torch.arange(cache.block_size)).flatten()
    device = cache.keys[0].device
    return positions.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else positions
