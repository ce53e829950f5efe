"""Attention on a GPU: decoding rows through our Triton kernel, prompts through FlashAttention.

Where FlashAttention cannot serve (float32, an old GPU, an odd head size), prompts go through PyTorch's
scaled_dot_product_attention instead; the decode kernel serves all of them. Capped scores, sinks, and keys and values of
different size are PyTorch's throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from cbviz.engine.attention import kernels, ragged, triton_decode
from cbviz.engine.attention.base import RaggedBatch
from cbviz.engine.attention.sdpa import SdpaAttention
from cbviz.errors import EngineError


@dataclass(slots=True)
class _Decoding:
    """Rows with one query token, as the decode kernel wants them."""

    tokens: slice | Tensor
    """Where their query tokens lie in the packed row."""
    tables: Tensor
    """int32 [D, blocks]"""
    slot: Tensor
    """int32 [D]: 0, 1, 2, …, for the tables are these rows' own."""
    context: Tensor
    """int32 [D]"""


@dataclass(slots=True)
class _Prompts:
    """Rows with several query tokens, as a batch of their own."""

    tokens: slice | Tensor
    batch: RaggedBatch
    packed: ragged.PackedPrompts
    sdpa: SdpaAttention | None = None
    """What computes them where FlashAttention cannot."""


class TritonAttention:
    """An `AttentionBackend`; see the module's first lines. Holds an iteration's index tensors between its layers.

    Raises
    ------
    EngineError
        There is no Triton here, or no device that it could run on.
    """

    def __init__(self) -> None:
        if not kernels.available():
            raise EngineError("TritonAttention needs Triton and a CUDA GPU; SdpaAttention runs everywhere.")
        self._decoding: _Decoding | None = None
        self._prompts: _Prompts | None = None
        self._plain: SdpaAttention | None = None

    def prepare(self, batch: RaggedBatch, device: torch.device) -> None:
        self._plain = None
        decoding = [r for r in range(len(batch)) if batch.queries(r) == 1]
        prompts = [r for r in range(len(batch)) if batch.queries(r) > 1]
        self._decoding = self._prompts = None
        if decoding:
            self._decoding = _Decoding(
                tokens=_selection([batch.bounds[r] for r in decoding], device),
                tables=batch.tables[decoding].to(torch.int32),
                slot=torch.arange(len(decoding), dtype=torch.int32, device=device),
                context=torch.tensor([batch.context[r] for r in decoding], dtype=torch.int32, device=device),
            )
        if prompts:
            tokens = _selection([t for r in prompts for t in range(batch.bounds[r], batch.bounds[r + 1])], device)
            alone = RaggedBatch(
                bounds=(0, *accumulate(batch.queries(r) for r in prompts)),
                context=tuple(batch.context[r] for r in prompts),
                tables=batch.tables[prompts],
                write=batch.write[tokens],
                block_size=batch.block_size,
            )
            self._prompts = _Prompts(tokens, alone, ragged.pack(alone, device))

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
        if softcap is not None or sinks is not None or keys.shape != values.shape:
            if self._plain is None:
                self._plain = SdpaAttention()
                self._plain.prepare(batch, query.device)
            return self._plain.attend(
                query, keys, values, scale=scale, window=window, batch=batch, softcap=softcap, sinks=sinks
            )
        output = query.new_empty(query.shape)
        if (rows := self._decoding) is not None:
            output[rows.tokens] = triton_decode.decode(
                query[rows.tokens],
                keys,
                values,
                rows.tables,
                rows.slot,
                rows.context,
                block_size=batch.block_size,
                scale=scale,
                window=window,
            )
        if (prompts := self._prompts) is not None:
            output[prompts.tokens] = _prefill(prompts, query[prompts.tokens], keys, values, scale, window)
        return output


def _prefill(
    prompts: _Prompts, query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
) -> Tensor:
    if ragged.refusal(query) is None:
        return ragged.prefill(query, None, None, keys, values, prompts.packed, scale=scale, window=window)
    if prompts.sdpa is None:
        prompts.sdpa = SdpaAttention()
        prompts.sdpa.prepare(prompts.batch, query.device)
    return prompts.sdpa.attend(query, keys, values, scale=scale, window=window, batch=prompts.batch)


def _selection(tokens: list[int], device: torch.device) -> slice | Tensor:
    """Tokens of the packed row as an index: a slice, which copies nothing, where they lie side by side."""
    if tokens[-1] - tokens[0] + 1 == len(tokens):
        return slice(tokens[0], tokens[-1] + 1)
    return torch.tensor(tokens, device=device)
