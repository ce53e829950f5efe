"""The KV cache: keys and values of every layer, in blocks that the pool hands out."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.engine.attention_hook import attention_shape
from cbviz.errors import CapacityError
from cbviz.memory import BlockPool


class KVCache:
    """Keys and values of `blocks` × `block_size` positions, for every layer.

    Parameters
    ----------
    layers, kv_heads, head_size
        The model's shape.
    blocks, block_size
        The pool's.
    dtype, device
        As the model's.

    Attributes
    ----------
    keys, values
        One tensor a layer, [blocks × block_size, KV heads, head size]: position p of block b is row
        b × block_size + p.

    Raises
    ------
    CapacityError
        It is larger than the device's free memory; the message shows the arithmetic. Nothing was allocated.
    """

    def __init__(
        self,
        *,
        layers: int,
        kv_heads: int,
        head_size: int,
        blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.block_size = block_size
        self.bytes_per_position = 2 * layers * kv_heads * head_size * dtype.itemsize
        """Keys and values × layers × KV heads × head size × bytes a number."""
        positions = blocks * block_size
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            if positions * self.bytes_per_position > free:
                raise CapacityError(
                    f"the KV cache needs {positions * self.bytes_per_position / 2**30:.1f} GiB "
                    f"({positions} positions × {self.bytes_per_position} bytes), "
                    f"but {free / 2**30:.1f} GiB are free on {device}."
                )
        # Zeros, not garbage: padding is masked out, but a NaN times a weight of 0 would still be a NaN.
        shape = (positions, kv_heads, head_size)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]

    def write(self, layer: int, where: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write [T, KV heads, head size] keys and values to the flat positions `where` (int64 [T]) of a layer.

        Returns the layer's whole keys and values.
        """
        self.keys[layer].index_copy_(0, where, keys)
        self.values[layer].index_copy_(0, where, values)
        return self.keys[layer], self.values[layer]


def cache_for(model: PreTrainedModel, pool: BlockPool) -> KVCache:
    """A cache of a model's shape with room for the blocks of a pool. Raises CapacityError if it does not fit."""
    layers, kv_heads, head_size = attention_shape(model)
    return KVCache(
        layers=layers,
        kv_heads=kv_heads,
        head_size=head_size,
        blocks=pool.blocks,
        block_size=pool.block_size,
        dtype=model.dtype,
        device=model.device,
    )
