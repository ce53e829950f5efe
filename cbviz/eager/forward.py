"""An eager step: rows of different lengths packed into one row, through the model, and a token drawn for each.

All rows go through the model as one packed row [1, T], each token with its own position; only attention knows which
tokens belong together (Orca, OSDI'22, §3.2, calls it selective batching). Token ids stay on the device: a sampled token
is written where the next step reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.core.executor import Result, Seat, Step
from cbviz.eager.attention import AttentionBackend, VarlenBatch
from cbviz.eager.attention_hook import Scoring, check_calls, logits_of
from cbviz.eager.kv_cache import KVCache
from cbviz.eager.logit_rules import SlotRules
from cbviz.eager.no_cudnn import without_cudnn
from cbviz.eager.out_of_memory import OUT_OF_MEMORY, out_of_memory
from cbviz.eager.sampling import SlotSampling
from cbviz.models.needs import AttentionNeeds

SMALL = 20_000_000
"""Parameters below which a model on a CPU runs on one thread."""


@dataclass(slots=True)
class VarlenPass:
    """Attention of one pass: write the new keys and values to the cache, then let the backend attend to it.

    `layer` counts the calls of attention: each has keys and values of its own.
    """

    batch: VarlenBatch
    cache: KVCache
    backend: AttentionBackend
    needs: AttentionNeeds
    layer: int = 0

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **scoring: Unpack[Scoring]) -> Tensor:
        """See `AttentionPass`."""
        layer, self.layer = self.layer, self.layer + 1
        if layer == len(self.cache.keys):
            check_calls(self.needs, self.layer)
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys.index_copy_(0, self.batch.slot_mapping, key)
        values.index_copy_(0, self.batch.slot_mapping, value)
        return self.backend.attend(query, keys, values, batch=self.batch, **scoring).unsqueeze(0)


class VarlenForward:
    """Runs steps on a copy of a model's modules; `ModelExecutor` makes it and says what its arguments mean."""

    def __init__(
        self,
        model: PreTrainedModel,
        needs: AttentionNeeds,
        *,
        slots: int,
        cache: KVCache,
        backend: AttentionBackend,
        rules: SlotRules | None,
        width: int,
    ) -> None:
        self.device = model.device
        self.cache = cache
        self._needs = needs
        self._served = model
        self._backend = backend
        self._rules = rules
        self._small = self.device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL
        self._around = without_cudnn if self.device.type == "cuda" else one_thread if self._small else nullcontext
        self._tokens = torch.zeros((slots, width), dtype=torch.int64, device=self.device)
        self._sampling = SlotSampling(slots, self.device)

    def launch(self, step: Step) -> Tensor:
        """int64 [R] on the device: the tokens that it is about to have, -1 where a row yields none. See `Executor`."""
        if step.swap_out or step.swap_in:
            self.cache.swap(step.swap_out, step.swap_in)
        for seat in step.seats:
            self._seat(seat)
        try:
            with torch.inference_mode(), self._around():
                return self._draw(step, self.logits(step))
        except OUT_OF_MEMORY as error:
            raise out_of_memory(self.device, f"computing {int(step.count.sum()):,} tokens in one pass") from error

    def collect(self, ticket: Tensor) -> Result:
        """See `Executor`."""
        return Result(ticket.cpu().numpy().astype(np.int32))

    def _seat(self, seat: Seat) -> None:
        tokens = torch.from_numpy(seat.tokens.astype(np.int64)).to(self.device)
        self._tokens[seat.slot, : len(tokens)] = tokens
        self._sampling.set(seat.slot, seat.sampling)
        if self._rules is not None:
            self._rules.seat(seat.slot, seat.stops)

    def logits(self, step: Step) -> Tensor:
        """[D, vocabulary]: logits after the last token of those rows that yield a token; no others are computed."""
        device, size = self.device, self.cache.block_size
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
        ids = self._tokens[torch.from_numpy(slot[owner].astype(np.int64)).to(device), positions]
        self._backend.prepare(batch, device)
        keep = torch.from_numpy((cu_seqlens[1:] - 1)[step.draw >= 0]).to(device)
        attention = VarlenPass(batch, self.cache, self._backend, self._needs)
        logits = logits_of(self._served, self._needs, ids.unsqueeze(0), positions.unsqueeze(0), keep, attention)
        check_calls(self._needs, attention.layer)
        return logits

    def _draw(self, step: Step, logits: Tensor) -> Tensor:
        """int64 [R]: the tokens drawn from [D, vocabulary], under the rules; also kept as what the slots have."""
        drawing = np.flatnonzero(step.draw >= 0)
        end = step.start + step.count
        slot, index, after = (
            torch.from_numpy(numbers[drawing].astype(np.int64)).to(self.device)
            for numbers in (step.slot, step.draw, end)
        )
        if self._rules is not None:
            history = self._tokens[slot, : int(end[drawing].max(initial=0))]
            logits = self._rules.apply(logits, slot, history, after, index)
        sampled = self._sampling.any_drawn(step.slot[drawing])
        tokens = self._sampling.draw(logits, slot, index, sampled=sampled)
        self._tokens[slot, after] = tokens
        result = torch.full((len(step.slot),), -1, dtype=torch.int64, device=self.device)
        result[torch.from_numpy(drawing).to(self.device)] = tokens
        return result


_lock = threading.Lock()
_passes = 0
_found = 1
"""PyTorch's number of threads before the first of the passes that run now."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block PyTorch computes on one thread: sharing small operations out costs more than computing them.

    PyTorch keeps the number for each thread, and lets a new one begin with what was set last, anywhere. So every thread
    puts its own number back; one that was born while another was in here gets the number from before.
    """
    global _passes, _found
    with _lock:
        mine = torch.get_num_threads()
        if not _passes:
            _found = mine
        before = _found if mine == 1 else mine
        _passes += 1
        if mine != 1:
            torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _passes -= 1
            if before != 1:
                torch.set_num_threads(before)
