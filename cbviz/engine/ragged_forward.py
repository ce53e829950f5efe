"""A forward pass over ragged rows, launched eagerly: all rows packed into one, each token at its own position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cbviz.engine.attention import AttentionBackend, RaggedBatch
from cbviz.engine.attention_hook import OurAttention
from cbviz.engine.executor import Step
from cbviz.engine.kv_cache import KVCache
from cbviz.trace.events import IntArray


@dataclass(frozen=True, slots=True)
class RaggedPass:
    """Attention of one such pass: write the new keys and values, then let the backend attend to the cache."""

    batch: RaggedBatch
    cache: KVCache
    backend: AttentionBackend

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, module: nn.Module, scale: float, window: int | None
    ) -> Tensor:
        """See `AttentionPass`."""
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        keys, values = self.cache.write(layer, self.batch.write, key[0].transpose(0, 1), value[0].transpose(0, 1))
        output = self.backend.attend(
            query[0].transpose(0, 1), keys, values, scale=scale, window=window, batch=self.batch
        )
        return output.unsqueeze(0)


class RaggedForward:
    """Runs rows of a step through a model.

    All rows go through the model as one packed row, each token with its own position; only attention knows which tokens
    belong together (Orca, OSDI'22, §3.2, calls it selective batching).
    """

    def __init__(self, model: PreTrainedModel, cache: KVCache, backend: AttentionBackend) -> None:
        self.model = model
        self.cache = cache
        self.backend = backend
        self._our_attention = OurAttention(model)

    def logits(self, step: Step, rows: IntArray, ids: Tensor | None = None, latest: Tensor | None = None) -> Tensor:
        """[D, vocabulary]: logits after the last token of those rows that yield a token; no others are computed.

        `ids` are the rows' tokens, int64 [T]; without them they are read from `latest`, int64 [slots, positions].
        """
        device, size = self.model.device, self.cache.block_size
        slot, start, count = step.slot[rows], step.start[rows], step.count[rows]
        # Token t of the packed row belongs to row owner[t] and is its position[t].
        owner = np.repeat(np.arange(len(rows)), count)
        bounds = np.concatenate([[0], np.cumsum(count)])
        position = np.arange(bounds[-1]) - bounds[owner] + start[owner]
        write = step.tables[slot[owner], position // size].astype(np.int64) * size + position % size
        batch = RaggedBatch(
            bounds=tuple(int(b) for b in bounds),
            context=tuple(int(c) for c in start + count),
            tables=torch.from_numpy(step.tables[slot].astype(np.int64)).to(device),
            write=torch.from_numpy(write).to(device),
            block_size=size,
        )
        where = torch.from_numpy(position).to(device)
        if ids is None:
            assert latest is not None
            ids = latest[torch.from_numpy(slot[owner].astype(np.int64)).to(device), where]
        self.backend.prepare(batch, device)
        with self._our_attention.in_place():
            logits: Tensor = self.model(
                input_ids=ids.unsqueeze(0),
                position_ids=where.unsqueeze(0),
                use_cache=False,
                logits_to_keep=torch.from_numpy((bounds[1:] - 1)[step.draw[rows] >= 0]).to(device),
                cbviz_pass=RaggedPass(batch, self.cache, self.backend),
            ).logits
        return logits[0]
