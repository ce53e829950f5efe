"""The KV cache: keys and values of every layer, in blocks that the pool hands out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.config import KVBlocks
from cbviz.core.executor import Copies
from cbviz.eager import host_blocks
from cbviz.eager.out_of_memory import OUT_OF_MEMORY, out_of_memory
from cbviz.errors import CapacityError
from cbviz.models.device import allocatable_bytes
from cbviz.models.needs import AttentionNeeds, KVShape


class KVCache:
    """Keys and values of `blocks` × `block_size` positions, for every call of attention in a pass.

    Parameters
    ----------
    shapes
        What one position takes in each layer; layers may differ, and keys and values may.
    blocks, block_size
        The pool's.
    dtype, device
        As the model's.

    Attributes
    ----------
    keys, values
        One tensor a layer, [blocks × block_size, KV heads, key size or value size]: position p of block b is row
        b × block_size + p.
    host
        Swapped blocks, pinned on CUDA: [host blocks, numbers of a block], a layer's keys [block_size, KV heads, key
        size], then its values, then the next layer's. None until there is swapping (`host_blocks`).
    numbers
        Numbers of one position's keys and values, all layers together.
    bytes_per_position
        Keys and values of all layers × bytes a number.

    Raises
    ------
    CapacityError
        It is larger than the device's free memory; the message shows the arithmetic. Nothing was allocated.
    """

    def __init__(
        self,
        *,
        shapes: Sequence[KVShape],
        blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.block_size = block_size
        self.kv_heads = max(shape.key_heads for shape in shapes)
        self.numbers = sum(shape.numbers for shape in shapes)
        self.bytes_per_position = self.numbers * dtype.itemsize
        positions = blocks * block_size
        free = allocatable_bytes(device) if device.type == "cuda" else None
        if free is not None and positions * self.bytes_per_position > free:
            raise CapacityError(
                f"the KV cache needs {positions * self.bytes_per_position / 2**30:.1f} GiB "
                f"({positions} positions × {self.bytes_per_position} bytes), "
                f"but {free / 2**30:.1f} GiB are free on {device}."
            )
        # Zeros, not garbage: padding is masked out, but a NaN times a weight of 0 would still be a NaN.
        self.host: Tensor | None = None
        self.keys = [
            torch.zeros((positions, one.key_heads, one.key_size), dtype=dtype, device=device) for one in shapes
        ]
        self.values = [
            torch.zeros((positions, one.value_heads, one.value_size), dtype=dtype, device=device) for one in shapes
        ]

    def provide_swap(self, blocks: int) -> int:
        """Make room in host memory for so many blocks; return the bytes of one. Raises CapacityError."""
        return host_blocks.provide(self, blocks)

    def swap(self, out: Copies, back: Copies) -> None:
        """Copy blocks to host memory (pairs: block, host block), then others back (pairs: host block, block).

        Raises CapacityError if the device has no room to gather them.
        """
        try:
            host_blocks.copy(self, out, back)
        except OUT_OF_MEMORY as error:
            raise out_of_memory(self.keys[0].device, f"swapping {len(out) + len(back):,} KV blocks") from error


def cache_for(model: PreTrainedModel, needs: AttentionNeeds, pool: KVBlocks) -> KVCache:
    """A cache of a model's shape with room for so many blocks. Raises CapacityError if it does not fit."""
    return KVCache(
        shapes=[layer.kv for layer in needs.layers],
        blocks=pool.blocks,
        block_size=pool.block_size,
        dtype=model.dtype,
        device=model.device,
    )
