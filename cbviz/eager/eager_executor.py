"""The executor that runs a real model: transformers' own modelling code, our attention and our cache."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.config import KVBlocks
from cbviz.core.executor import Result, Seat, Step
from cbviz.eager.attention import AttentionBackend
from cbviz.eager.forward import VarlenForward
from cbviz.eager.kv_cache import cache_for
from cbviz.eager.logit_rules import LogitRules, SlotRules
from cbviz.eager.pass_settings import one_thread, out_of_memory_explained
from cbviz.eager.sampling import SlotSampling
from cbviz.eager.sdpa import SdpaAttention
from cbviz.eager.serving import checked_limit, vocabulary_rows
from cbviz.models.served import attention_needs, end_tokens_of

SMALL = 20_000_000
"""Parameters below which a model on a CPU runs on one thread."""


@dataclass(frozen=True, slots=True)
class EagerTicket:
    """A launched step: the tokens that the device is about to have."""

    tokens: Tensor
    """int64 [R] on the device; -1 where a row yields none."""


class ModelExecutor:
    """Runs steps on a model, wherever its weights lie.

    All rows of a step go through the model as one packed row [1, T], each token with its own position; only attention
    knows which tokens belong together (Orca, OSDI'22, §3.2, calls it selective batching). Token ids stay on the device:
    a sampled token is written where the next step reads it.

    Parameters
    ----------
    model
        A causal LM in eval mode. The executor computes with modules of its own over the same weights
        (`cbviz.models.modules`), so the model can be used meanwhile, and is left as it was.
    slots
        The engine's.
    pool
        How many KV blocks of which size the cache has: the engine's pool, or a configuration.
    end_tokens
        Token ids with which the model ends an output; None takes the model's own generation configuration.
    backend
        The attention backend; None takes `SdpaAttention`.
    limit
        The most positions a request may have; None takes the model's context.
    rules
        What is done to logits before a token is chosen; None takes the model's own generation configuration.

    Raises
    ------
    ModelError
        The model uses something that this engine cannot honour.
    CapacityError
        The KV cache does not fit the device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        slots: int,
        pool: KVBlocks,
        end_tokens: tuple[int, ...] | None = None,
        backend: AttentionBackend | None = None,
        limit: int | None = None,
        rules: LogitRules | None = None,
    ) -> None:
        needs = attention_needs(model)
        self.rules = LogitRules.of(model) if rules is None else rules
        self.model = model
        self.device = model.device
        self.context_limit = checked_limit(needs, limit)
        self.vocabulary = vocabulary_rows(model)
        self.end_tokens = end_tokens_of(model) if end_tokens is None else end_tokens
        self.cache = cache_for(model, needs, pool)
        self._forward = VarlenForward(model, needs, self.cache, backend or SdpaAttention())
        self._small = self.device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL
        # One column more than positions: a token sampled at the last position is still an output token.
        width = min(self.context_limit, pool.blocks * pool.block_size) + 1
        self._tokens = torch.zeros((slots, width), dtype=torch.int64, device=self.device)
        self._sampling = SlotSampling(slots, self.device)
        self._rules = SlotRules.made(self.rules, model, slots, self.end_tokens)

    def provide_swap(self, blocks: int) -> int:
        """See `Executor`."""
        return self.cache.provide_swap(blocks)

    def launch(self, step: Step) -> EagerTicket:
        """See `Executor`."""
        if swapped := len(step.swap_out) + len(step.swap_in):
            with out_of_memory_explained(self.device, f"swapping {swapped:,} KV blocks"):
                self.cache.swap(step.swap_out, step.swap_in)
        for seat in step.seats:
            self._seat(seat)
        drawing = np.flatnonzero(step.draw >= 0)
        computing = out_of_memory_explained(self.device, f"computing {int(step.count.sum()):,} tokens in one pass")
        with computing, torch.inference_mode(), one_thread() if self._small else nullcontext():
            logits = self._forward.logits(step, self._tokens)
            rows, index, after = (
                torch.from_numpy(numbers[drawing].astype(np.int64)).to(self.device)
                for numbers in (step.slot, step.draw, step.start + step.count)
            )
            if self._rules is not None:
                history = self._tokens[rows, : int((step.start + step.count)[drawing].max(initial=0))]
                logits = self._rules.apply(logits, rows, history, after, index)
            sampled = self._sampling.any_drawn(step.slot[drawing])
            tokens = self._sampling.draw(logits, rows, index, sampled=sampled)
            self._tokens[rows, after] = tokens
            result = torch.full((len(step.slot),), -1, dtype=torch.int64, device=self.device)
            result[torch.from_numpy(drawing).to(self.device)] = tokens
        return EagerTicket(result)

    def collect(self, ticket: EagerTicket) -> Result:
        """See `Executor`."""
        return Result(ticket.tokens.cpu().numpy().astype(np.int32))

    def _seat(self, seat: Seat) -> None:
        tokens = torch.from_numpy(seat.tokens.astype(np.int64)).to(self.device)
        self._tokens[seat.slot, : len(tokens)] = tokens
        self._sampling.set(seat.slot, seat.sampling)
        if self._rules is not None:
            self._rules.seat(seat.slot, seat.stops)
