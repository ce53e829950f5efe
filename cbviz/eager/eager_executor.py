"""The executor that runs a real model: transformers' own modelling code, our attention and our cache."""

from __future__ import annotations

from transformers import PreTrainedModel

from cbviz.config import KVBlocks
from cbviz.eager.attention import AttentionBackend
from cbviz.eager.forward import VarlenForward
from cbviz.eager.kv_cache import cache_for
from cbviz.eager.logit_rules import LogitRules, SlotRules
from cbviz.eager.packed_linear import pack_linears
from cbviz.eager.sdpa import SdpaAttention
from cbviz.eager.serving import checked_limit, serving_copy, vocabulary_rows
from cbviz.eager.short_layer import shorten_layers
from cbviz.models.served import attention_needs, end_tokens_of


class ModelExecutor(VarlenForward):
    """Runs steps on a model, wherever its weights lie.

    `VarlenForward` has how a step runs; this class chooses and checks what it runs with.

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
        self.context_limit = checked_limit(needs, limit)
        self.vocabulary = vocabulary_rows(model)
        self.end_tokens = end_tokens_of(model) if end_tokens is None else end_tokens
        served = serving_copy(model, needs)
        super().__init__(
            served,
            needs,
            slots=slots,
            cache=cache_for(model, needs, pool),
            backend=backend or SdpaAttention(),
            rules=SlotRules.made(self.rules, model, slots, self.end_tokens),
            # One column more than positions: a token sampled at the last position is still an output token.
            width=min(self.context_limit, pool.blocks * pool.block_size) + 1,
        )
        if not self._small:  # such a model is in the cache of the processor, where any layout is quick
            pack_linears(served, slots)
            shorten_layers(served)

    def provide_swap(self, blocks: int) -> int:
        """See `Executor`."""
        return self.cache.provide_swap(blocks)
