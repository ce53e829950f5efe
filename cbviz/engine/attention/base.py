"""The seam for attention: what a backend is told about a batch, and the one thing it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """Rows of different lengths, laid end to end: row r owns query tokens `bounds[r]` … `bounds[r + 1]` - 1.

    Attributes
    ----------
    bounds
        Python ints [R + 1]: where each row's query tokens begin, and T at the end.
    context
        Python ints [R]: positions of each row that are in the cache once this batch is written; its query tokens are
        the last of them.
    tables
        int64 [R, blocks]: KV block of every `block_size` positions of the row; anything beyond its context.
    write
        int64 [T]: where in the flat cache each query token's key and value go.
    block_size
        Positions in a KV block.
    """

    bounds: tuple[int, ...]
    context: tuple[int, ...]
    tables: Tensor
    write: Tensor
    block_size: int

    def __len__(self) -> int:
        return len(self.context)

    def queries(self, row: int) -> int:
        return self.bounds[row + 1] - self.bounds[row]


class AttentionBackend(Protocol):
    """Causal attention of ragged rows over a paged cache. A backend is one file; adding one touches nothing else."""

    def prepare(self, batch: RaggedBatch, device: torch.device) -> None:
        """Called once an iteration, before the first layer: work that all layers share."""
        ...

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        scale: float,
        window: int | None,
        batch: RaggedBatch,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Attend with every query token to the cached positions of its own row up to itself.

        Parameters
        ----------
        query
            [T, query heads, key size].
        keys, values
            [cache positions, KV heads, key size] and [cache positions, KV heads, value size]: one layer of the cache,
            the batch's own tokens already written.
        scale
            Factor on the dot products, exactly as the model passes it (OPT scales its queries itself and passes 1).
        window
            Sliding window: a token sees itself and the `window` - 1 positions before it. None sees everything.

        softcap, sinks
            As in `cbviz.models.plain_attention`; None where the model has none.

        Returns
        -------
        Tensor
            [T, query heads, value size].
        """
        ...
