"""The KV cache: keys and values of every layer, in blocks that the pool hands out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.engine.executor import Copies
from cbviz.errors import CapacityError
from cbviz.memory import BlockPool
from cbviz.models.device import allocatable_bytes
from cbviz.models.needs import AttentionNeeds, KVShape

BLOCKS_A_COPY = 16
"""Blocks that are gathered at a time when they are swapped: what is gathered takes that much of the device's memory."""


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
        size], then its values, then the next layer's. None until there is swapping.
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
        self._numbers = sum(shape.numbers for shape in shapes)
        self.bytes_per_position = self._numbers * dtype.itemsize
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
        """Make room in host memory for so many blocks; return the bytes of one.

        Raises
        ------
        CapacityError
            There is not that much host memory.
        """
        # One block lies in one piece, all its layers together, so that it moves in one copy.
        shape = (blocks, self.block_size * self._numbers)
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
        staged = torch.cat([layer[where].view(len(pairs), -1) for layer in self._tensors()], dim=1)
        for block, (_, target) in zip(staged, pairs, strict=True):
            self.host[target].copy_(block, non_blocking=True)

    def _copy_back(self, pairs: Copies) -> None:
        """One copy for each block, then spread them over the layers."""
        assert self.host is not None
        where = self._positions([block for _, block in pairs])
        staged = torch.empty((len(pairs), self.host.shape[1]), dtype=self.host.dtype, device=where.device)
        for block, (source, _) in zip(staged, pairs, strict=True):
            block.copy_(self.host[source], non_blocking=True)
        parts = torch.split(staged, [self.block_size * layer[0].numel() for layer in self._tensors()], dim=1)
        for layer, part in zip(self._tensors(), parts, strict=True):
            layer.index_copy_(0, where, part.reshape(len(where), *layer.shape[1:]))

    def _tensors(self) -> list[Tensor]:
        """Every layer's keys, each followed by the layer's values."""
        return [tensor for layer in zip(self.keys, self.values, strict=True) for tensor in layer]

    def _positions(self, blocks: list[int]) -> Tensor:
        """int64 [blocks × block_size]: the flat positions of these blocks, one block after the other."""
        first = torch.tensor(blocks).unsqueeze(1) * self.block_size
        where = (first + torch.arange(self.block_size)).flatten()
        device = self.keys[0].device
        return where.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else where

    def write(self, layer: int, where: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write [T, KV heads, size] keys and values to the flat positions `where` (int64 [T]) of a layer.

        Returns the layer's whole keys and values.
        """
        self.keys[layer].index_copy_(0, where, keys)
        self.values[layer].index_copy_(0, where, values)
        return self.keys[layer], self.values[layer]


def cache_for(model: PreTrainedModel, needs: AttentionNeeds, pool: BlockPool) -> KVCache:
    """A cache of a model's shape with room for the blocks of a pool. Raises CapacityError if it does not fit."""
    return KVCache(
        shapes=[layer.kv for layer in needs.layers],
        blocks=pool.blocks,
        block_size=pool.block_size,
        dtype=model.dtype,
        device=model.device,
    )
