"""A forward pass over ragged rows, launched eagerly: all rows packed into one, each token at its own position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.engine.attention import AttentionBackend, RaggedBatch
from cbviz.engine.attention_hook import check_calls, logits_of, serving_copy
from cbviz.engine.executor import Step
from cbviz.engine.kv_cache import KVCache
from cbviz.models.needs import AttentionNeeds
from cbviz.trace.events import IntArray


@dataclass(slots=True)
class RaggedPass:
    """Attention of one such pass: write the new keys and values, then let the backend attend to the cache.

    `layer` counts the calls of attention: each has keys and values of its own.
    """

    batch: RaggedBatch
    cache: KVCache
    backend: AttentionBackend
    needs: AttentionNeeds
    layer: int = 0

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
        sinks: Tensor | None,
    ) -> Tensor:
        """See `AttentionPass`."""
        layer, self.layer = self.layer, self.layer + 1
        if layer == len(self.cache.keys):
            check_calls(self.needs, self.layer)
        keys, values = self.cache.write(layer, self.batch.write, key[0].transpose(0, 1), value[0].transpose(0, 1))
        output = self.backend.attend(
            query[0].transpose(0, 1),
            keys,
            values,
            scale=scale,
            window=window,
            softcap=softcap,
            sinks=sinks,
            batch=self.batch,
        )
        return output.unsqueeze(0)


class RaggedForward:
    """Runs rows of a step through a model.

    All rows go through the model as one packed row, each token with its own position; only attention knows which tokens
    belong together (Orca, OSDI'22, §3.2, calls it selective batching).
    """

    def __init__(
        self, model: PreTrainedModel, needs: AttentionNeeds, cache: KVCache, backend: AttentionBackend
    ) -> None:
        self.model = serving_copy(model, needs)
        self.needs = needs
        self.cache = cache
        self.backend = backend

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
        keep = torch.from_numpy((bounds[1:] - 1)[step.draw[rows] >= 0]).to(device)
        attention = RaggedPass(batch, self.cache, self.backend, self.needs)
        logits = logits_of(self.model, self.needs, ids.unsqueeze(0), where.unsqueeze(0), keep, attention)
        check_calls(self.needs, attention.layer)
        return logits
