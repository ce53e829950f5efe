"""Eager attention: what a backend gets of a batch, and the one thing it does.

`sdpa` has the backend that runs everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from cbviz._moved import moved_name, renamed


@dataclass(frozen=True, slots=True)
class VarlenBatch:
    """Rows of different lengths, laid end to end: row r has query tokens `cu_seqlens[r]` … `cu_seqlens[r + 1]` - 1.

    Attributes
    ----------
    cu_seqlens
        Python ints [R + 1]: where each row's query tokens begin, and T at the end.
    context
        Python ints [R]: positions of each row that are in the cache once this batch is written; its query tokens are
        the last of them.
    tables
        int64 [R, blocks]: KV block of every `block_size` positions of the row; anything beyond its context.
    slot_mapping
        int64 [T]: where in the flat cache each query token's key and value go.
    block_size
        Positions in a KV block.
    """

    cu_seqlens: tuple[int, ...]
    context: tuple[int, ...]
    tables: Tensor
    slot_mapping: Tensor
    block_size: int

    def __len__(self) -> int:
        return len(self.context)

    def queries(self, row: int) -> int:
        """Query tokens of a row.

        Parameters
        ----------
        row
            Its index in the batch.

        Returns
        -------
        int
            1 for a row that decodes.
        """
        return self.cu_seqlens[row + 1] - self.cu_seqlens[row]

    @property
    def bounds(self) -> tuple[int, ...]:
        """The former name of `cu_seqlens`; it goes in version 0.3."""
        renamed("VarlenBatch.bounds", "VarlenBatch.cu_seqlens")
        return self.cu_seqlens

    @property
    def write(self) -> Tensor:
        """The former name of `slot_mapping`; it goes in version 0.3."""
        renamed("VarlenBatch.write", "VarlenBatch.slot_mapping")
        return self.slot_mapping


class AttentionBackend(Protocol):
    """Causal attention over a paged cache, for rows of different lengths. A backend is one file."""

    def prepare(self, batch: VarlenBatch, device: torch.device) -> None:
        """Do the work that all layers share. Called once an iteration, before the first layer.

        Parameters
        ----------
        batch
            The rows of the iteration.
        device
            Where the query, the keys and the values are.
        """
        ...

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        scale: float,
        window: int | None,
        batch: VarlenBatch,
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


def __getattr__(name: str) -> Any:
    return moved_name("eager.attention", name)
