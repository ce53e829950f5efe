"""An eager forward pass over rows of different lengths: all packed into one row, each token at its own position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.core.executor import Step
from cbviz.eager.attention import AttentionBackend, VarlenBatch
from cbviz.eager.attention_hook import check_calls, logits_of
from cbviz.eager.kv_cache import KVCache
from cbviz.eager.serving import serving_copy
from cbviz.models.needs import AttentionNeeds


@dataclass(slots=True)
class VarlenPass:
    """Attention of one such pass: write the new keys and values, then let the backend attend to the cache.

    `layer` counts the calls of attention: each has keys and values of its own.
    """

    batch: VarlenBatch
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
        keys, values = self.cache.write(
            layer, self.batch.slot_mapping, key[0].transpose(0, 1), value[0].transpose(0, 1)
        )
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


class VarlenForward:
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

    def logits(self, step: Step, latest: Tensor) -> Tensor:
        """[D, vocabulary]: logits after the last token of those rows that yield a token; no others are computed.

        The rows' tokens are read from `latest`, int64 [slots, positions].
        """
        device, size = self.model.device, self.cache.block_size
        slot, start, count = step.slot, step.start, step.count
        # Token t of the packed row belongs to row owner[t] and is its position[t].
        owner = np.repeat(np.arange(len(slot)), count)
        cu_seqlens = np.concatenate([[0], np.cumsum(count)])
        position = np.arange(cu_seqlens[-1]) - cu_seqlens[owner] + start[owner]
        slot_mapping = step.tables[slot[owner], position // size].astype(np.int64) * size + position % size
        batch = VarlenBatch(
            cu_seqlens=tuple(cu_seqlens.tolist()),
            context=tuple((start + count).tolist()),
            tables=torch.from_numpy(step.tables[slot].astype(np.int64)).to(device),
            slot_mapping=torch.from_numpy(slot_mapping).to(device),
            block_size=size,
        )
        positions = torch.from_numpy(position).to(device)
        ids = latest[torch.from_numpy(slot[owner].astype(np.int64)).to(device), positions]
        self.backend.prepare(batch, device)
        keep = torch.from_numpy((cu_seqlens[1:] - 1)[step.draw >= 0]).to(device)
        attention = VarlenPass(batch, self.cache, self.backend, self.needs)
        logits = logits_of(self.model, self.needs, ids.unsqueeze(0), positions.unsqueeze(0), keep, attention)
        check_calls(self.needs, attention.layer)
        return logits
