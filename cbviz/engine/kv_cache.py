"""The KV cache: keys and values of every layer, in blocks that the pool hands out."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.engine.attention_hook import attention_shape
from cbviz.engine.executor import Copies
from cbviz.errors import CapacityError
from cbviz.memory import BlockPool

BLOCKS_A_COPY = 16
"""Blocks that are gathered at a time when they are swapped: what is gathered takes that much of the device's memory."""


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
        self.kv_heads = kv_heads
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
        self.host: Tensor | None = None
        """Swapped blocks, pinned on CUDA: [host blocks, layers, 2 (keys, values), block size, KV heads, head size]."""
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]

    def provide_swap(self, blocks: int) -> int:
        """Make room in host memory for so many blocks; return the bytes of one.

        Raises
        ------
        CapacityError
            There is not that much host memory.
        """
        layers, (_, kv_heads, head_size) = len(self.keys), self.keys[0].shape
        # One block lies in one piece, all its layers together, so that it moves in one copy.
        shape = (blocks, layers, 2, self.block_size, kv_heads, head_size)
        size = self.block_size * self.bytes_per_position
        if self.host is None or self.host.shape != shape:
            try:
                self.host = None
                self.host = torch.empty(shape, dtype=self.keys[0].dtype, pin_memory=self.keys[0].device.type == "cuda")
            except RuntimeError as error:
                raise CapacityError(
                    f"host memory has no room to swap {blocks:,} KV blocks × {size:,} bytes = "
                    f"{blocks * size / 2**30:.1f} GiB; ask for fewer swap_blocks."
                ) from error
        return size

    def swap(self, out: Copies, back: Copies) -> None:
        """Copy blocks to host memory (pairs: block, host block), then others back (pairs: host block, block).

        Everything is queued on the device's current stream, behind the passes that wrote the blocks and before those
        that will read them; the host waits for nothing.
        """
        for begin in range(0, len(out), BLOCKS_A_COPY):
            self._copy_out(out[begin : begin + BLOCKS_A_COPY])
        for begin in range(0, len(back), BLOCKS_A_COPY):
            self._copy_back(back[begin : begin + BLOCKS_A_COPY])

    def _copy_out(self, pairs: Copies) -> None:
        """Gather the blocks on the device, then one copy for each."""
        assert self.host is not None
        where = self._positions([block for block, _ in pairs])
        layers = [torch.stack((k[where], v[where])) for k, v in zip(self.keys, self.values, strict=True)]
        _, *block_shape = self.host.shape
        by_layer = torch.stack(layers).view(*block_shape[:2], len(pairs), *block_shape[2:])
        staged = by_layer.permute(2, 0, 1, 3, 4, 5).contiguous()
        for block, (_, target) in zip(staged, pairs, strict=True):
            self.host[target].copy_(block, non_blocking=True)

    def _copy_back(self, pairs: Copies) -> None:
        """One copy for each block, then spread them over the layers."""
        assert self.host is not None
        where = self._positions([block for _, block in pairs])
        staged = torch.empty((len(pairs), *self.host.shape[1:]), dtype=self.host.dtype, device=where.device)
        for block, (source, _) in zip(staged, pairs, strict=True):
            block.copy_(self.host[source], non_blocking=True)
        layers = staged.permute(1, 2, 0, 3, 4, 5).flatten(2, 3)
        for layer, (keys, values) in zip(layers, zip(self.keys, self.values, strict=True), strict=True):
            keys.index_copy_(0, where, layer[0])
            values.index_copy_(0, where, layer[1])

    def _positions(self, blocks: list[int]) -> Tensor:
        """int64 [blocks × block_size]: the flat positions of these blocks, one block after the other."""
        first = torch.tensor(blocks).unsqueeze(1) * self.block_size
        where = (first + torch.arange(self.block_size)).flatten()
        device = self.keys[0].device
        return where.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else where

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
