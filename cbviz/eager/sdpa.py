"""The attention backend that runs on every device: PyTorch's scaled_dot_product_attention over a gathered cache."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cbviz.eager.attention import VarlenBatch
from cbviz.models.plain_attention import plain_attention


@dataclass(slots=True)
class _Decoding:
    """Rows with one query token: where their context lies in the cache, and which of it each may see."""

    token: Tensor
    """int64 [D]: their query tokens' indices."""
    gather: Tensor
    """int64 [D, longest context]: cache positions; padding repeats position 0 of the pool."""
    position: Tensor
    """int64 [longest context]: 0, 1, 2, …"""
    context: Tensor
    """int64 [D, 1]: each row's context."""


@dataclass(slots=True)
class _Prefilling:
    """A row with several query tokens."""

    begin: int
    end: int
    context: int
    gather: Tensor
    """int64 [context]: cache positions."""


class SdpaAttention:
    """Attention by PyTorch's scaled_dot_product_attention: runs on every device, needs no kernel of ours.

    Rows that decode (one query token each) gather their keys and values into one padded tensor and share a call; the
    mask hides the padding. Rows that take in a prompt have a call each, so that no prompt is ever padded to another.
    Capped scores and sinks, which that function does not know, are written out (`cbviz.models.plain_attention`). It
    holds the index tensors of the iteration between its layers.
    """

    def __init__(self) -> None:
        self._decoding: _Decoding | None = None
        self._prefilling: list[_Prefilling] = []

    def prepare(self, batch: VarlenBatch, device: torch.device) -> None:
        """See `AttentionBackend`."""
        spans = list(pairwise(batch.cu_seqlens))
        decoding = [r for r, (begin, end) in enumerate(spans) if end - begin == 1]
        self._decoding = None
        if decoding:
            context = torch.tensor([batch.context[r] for r in decoding], device=device).unsqueeze(1)
            position = torch.arange(max(batch.context[r] for r in decoding), device=device)
            gather = _cache_positions(batch.tables[decoding], position, batch.block_size)
            self._decoding = _Decoding(
                token=torch.tensor([batch.cu_seqlens[r] for r in decoding], device=device),
                gather=torch.where(position < context, gather, 0),
                position=position,
                context=context,
            )
        self._prefilling = [
            _Prefilling(
                begin=begin,
                end=end,
                context=batch.context[r],
                gather=_cache_positions(
                    batch.tables[r : r + 1], torch.arange(batch.context[r], device=device), batch.block_size
                )[0],
            )
            for r, (begin, end) in enumerate(spans)
            if end - begin > 1
        ]

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
        """See `AttentionBackend`."""
        output = query.new_empty((*query.shape[:2], values.shape[-1]))
        if (rows := self._decoding) is not None:
            seen = rows.position < rows.context
            if window is not None:
                seen &= rows.position >= rows.context - window
            output[rows.token] = _attend(
                query[rows.token].unsqueeze(2),
                keys[rows.gather].transpose(1, 2),
                values[rows.gather].transpose(1, 2),
                seen[:, None, None, :],
                scale,
                softcap,
                sinks,
            ).squeeze(2)
        for row in self._prefilling:
            output[row.begin : row.end] = _attend(
                query[row.begin : row.end].transpose(0, 1).unsqueeze(0),
                keys[row.gather].transpose(0, 1).unsqueeze(0),
                values[row.gather].transpose(0, 1).unsqueeze(0),
                _causal_mask(row.end - row.begin, row.context, window, query.device),
                scale,
                softcap,
                sinks,
            )[0].transpose(0, 1)
        return output


def _attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """[rows, query heads, queries, value size] of [rows, heads, tokens, size] each."""
    if softcap is not None or sinks is not None or keys.shape[1] != values.shape[1]:
        return plain_attention(query, keys, values, seen, scale=scale, softcap=softcap, sinks=sinks)
    grouped = query.shape[1] != keys.shape[1]
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=scale, enable_gqa=grouped)


def _cache_positions(tables: Tensor, position: Tensor, block_size: int) -> Tensor:
    """int64 [rows, positions]: where in the flat cache these positions of these rows lie."""
    return tables[:, position // block_size] * block_size + position % block_size


def _causal_mask(queries: int, context: int, window: int | None, device: torch.device) -> Tensor:
    """bool [queries, context]: the queries are the last positions of the context (aligned lower right)."""
    query = torch.arange(context - queries, context, device=device).unsqueeze(1)
    key = torch.arange(context, device=device)
    mask = key <= query
    return mask if window is None else mask & (key > query - window)
