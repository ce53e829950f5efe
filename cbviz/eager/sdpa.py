"""The attention backend that runs on every device: PyTorch's scaled_dot_product_attention over a gathered cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cbviz.eager.attention import VarlenBatch
from cbviz.models.plain_attention import plain_attention


@dataclass(slots=True)
class _Decoding:
    """Rows with one query token: where their context lies in the cache, and which of it each may see."""

    token: Tensor | None
    """int64 [D]: their query tokens' indices; None if every token of the pass is one, in order."""
    blocks: Tensor
    """int64 [D × most blocks]: the KV blocks of their contexts, row by row; padding repeats block 0 of the pool."""
    back: Tensor
    """int64 [D, 1, 1, positions]: how far each position lies before the row's query; below 0 it is padding."""
    biases: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """What is added to scores, alike in all layers with this window: minus infinity where a row does not see."""
        if (window, dtype) not in self.biases:
            hidden = self.back < 0 if window is None else (self.back < 0) | (self.back >= window)
            self.biases[window, dtype] = torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, float("-inf"))
        return self.biases[window, dtype]


@dataclass(slots=True)
class _Prefilling:
    """A row with several query tokens."""

    begin: int
    end: int
    context: int
    blocks: Tensor
    """int64 [blocks]: the KV blocks of its context."""


class SdpaAttention:
    """Attention by PyTorch's scaled_dot_product_attention: runs on every device, needs no kernel of ours.

    Rows that decode (one query token each) gather their keys and values into one padded tensor and share a call; the
    mask hides the padding. Rows that take in a prompt have a call each, so that no prompt is ever padded to another.
    Capped scores and sinks, which that function does not know, are written out (`cbviz.models.plain_attention`). It
    holds the indices and masks of the iteration between its layers.
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
            blocks = batch.tables[decoding, : -(-int(context.max()) // batch.block_size)]
            position = torch.arange(blocks.shape[1] * batch.block_size, device=device)
            token = [batch.cu_seqlens[r] for r in decoding]
            self._decoding = _Decoding(
                token=torch.tensor(token, device=device) if len(token) < batch.cu_seqlens[-1] else None,
                blocks=torch.where(position[:: batch.block_size] < context, blocks, 0).flatten(),
                back=(context - 1 - position)[:, None, None, :],
            )
        self._prefilling = [
            _Prefilling(
                begin=begin,
                end=end,
                context=batch.context[r],
                blocks=batch.tables[r, : -(-batch.context[r] // batch.block_size)],
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
        plain = softcap is not None or sinks is not None or keys.shape[1] != values.shape[1]
        output = query.new_empty((*query.shape[:2], values.shape[-1]))
        if (rows := self._decoding) is not None:
            asked = query if rows.token is None else query[rows.token]
            k, v = (_gathered(x, rows.blocks, len(asked), batch.block_size) for x in (keys, values))
            bias = rows.bias(window, query.dtype)
            if plain:
                found = plain_attention(asked.unsqueeze(2), k, v, bias == 0, scale=scale, softcap=softcap, sinks=sinks)
            else:
                # The query heads of a KV head stand as queries of one head: each key is read once, not once a head.
                grouped = asked.view(len(asked), k.shape[1], -1, k.shape[3])
                found = F.scaled_dot_product_attention(grouped, k, v, attn_mask=bias, scale=scale)
            found = found.reshape(len(asked), *output.shape[1:])
            if rows.token is None:
                return found
            output[rows.token] = found
        for row in self._prefilling:
            asked = query[row.begin : row.end].transpose(0, 1).unsqueeze(0)
            k, v = (_gathered(x, row.blocks, 1, batch.block_size)[:, :, : row.context] for x in (keys, values))
            # A prompt from its beginning needs no mask: PyTorch then leaves out what no query sees.
            whole = asked.shape[2] == row.context and window is None and not plain
            seen = None if whole else _causal_mask(asked.shape[2], row.context, window, query.device)
            if plain and seen is not None:
                found = plain_attention(asked, k, v, seen, scale=scale, softcap=softcap, sinks=sinks)
            else:
                gqa = asked.shape[1] != k.shape[1]
                found = F.scaled_dot_product_attention(asked, k, v, seen, is_causal=whole, scale=scale, enable_gqa=gqa)
            output[row.begin : row.end] = found[0].transpose(0, 1)
        return output


def _gathered(cache: Tensor, blocks: Tensor, rows: int, block_size: int) -> Tensor:
    """[rows, KV heads, positions, size]: keys or values of as many blocks for each row, copied out of the cache."""
    found = cache.view(-1, block_size, *cache.shape[1:]).index_select(0, blocks)
    return found.view(rows, -1, *cache.shape[1:]).transpose(1, 2)


def _causal_mask(queries: int, context: int, window: int | None, device: torch.device) -> Tensor:
    """bool [queries, context]: the queries are the last positions of the context (aligned lower right)."""
    query = torch.arange(context - queries, context, device=device).unsqueeze(1)
    key = torch.arange(context, device=device)
    mask = key <= query
    return mask if window is None else mask & (key > query - window)
