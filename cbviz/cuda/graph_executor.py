"""The executor for speed: builds a model's fixed-shape pass, captures its graphs, replays them (`graph_replay`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from cbviz.config import KVBlocks
from cbviz.core.interrupts import interrupts_deferred
from cbviz.cuda import graph_replay
from cbviz.cuda.attend import StaticAttention
from cbviz.cuda.graph_replay import GraphReplay
from cbviz.cuda.history import History
from cbviz.cuda.layout import Shape
from cbviz.cuda.reasons import why_no_graphs
from cbviz.cuda.static_forward import StaticForward
from cbviz.cuda.static_sdpa import SdpaStaticAttention
from cbviz.eager.kv_cache import cache_for
from cbviz.eager.logit_rules import LogitRules, SlotRules
from cbviz.eager.serving import checked_limit, vocabulary_rows
from cbviz.errors import CbvizError, ModelError
from cbviz.models.compiler_cache import start_afresh
from cbviz.models.served import attention_needs, end_tokens_of


class GraphExecutor(GraphReplay):
    """Runs steps as CUDA graph replays. On a CPU it runs the same passes without graphs, for tests.

    Parameters
    ----------
    model
        A causal LM in eval mode. Projections of one input are laid side by side in memory; nothing else changes.
    slots
        The engine's.
    pool
        How many KV blocks of which size the cache has: the engine's pool, or a configuration.
    lag
        The engine's (asynchronous scheduling). With 1, iterations are timed by device events, from one's end to the
        next one's end.
    end_tokens, limit, rules
        As for `ModelExecutor`.
    attention
        Static attention; None takes the Triton kernels on CUDA and PyTorch's elsewhere.
    compiled
        False skips torch.compile: slower steps, no compilation.
    longest_prompt
        Graphs are captured for prompts of up to this many tokens; None takes the largest size. Longer ones are served
        too, by graphs that are captured when they are first needed.
    progress
        Called with (done, total) between two graphs that are captured; what it raises ends the capture.

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
        lag: int = 1,
        end_tokens: tuple[int, ...] | None = None,
        limit: int | None = None,
        attention: StaticAttention | None = None,
        compiled: bool = True,
        longest_prompt: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        rules: LogitRules | None = None,
    ) -> None:
        needs = attention_needs(model)
        self.rules = LogitRules.of(model) if rules is None else rules
        if attention is None:
            if reason := why_no_graphs(model):
                raise ModelError(f"this model cannot run in CUDA graphs: {reason}.")
            attention = best_static_attention(model.device)
        self.model = model
        self.context_limit = checked_limit(needs, limit)
        self.vocabulary = vocabulary_rows(model)
        self.end_tokens = end_tokens_of(model) if end_tokens is None else end_tokens
        positions = pool.blocks * pool.block_size
        slot_rules = SlotRules.made(self.rules, model, slots + 1, self.end_tokens)
        longest = min(self.context_limit, positions)
        history = History(slots, longest, model.device) if self.rules.reads_history else None
        forward = StaticForward(
            model,
            needs,
            slots=slots,
            cache=cache_for(model, needs, pool),
            attention=attention,
            blocks_a_request=min(pool.blocks, -(-self.context_limit // pool.block_size)),
            compiled=compiled,
            rules=slot_rules,
            history=history,
        )
        super().__init__(forward, lag=lag, context_limit=self.context_limit, longest_prompt=longest_prompt)
        self._most_prompt_tokens = min(slots * min(longest_prompt or longest, longest), positions)
        """All slots' prompts at once, if they are that long."""
        self.capture(progress)

    # ------------------------------------------------------------------ capturing

    def capture(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Capture the greedy graphs, largest first so that the smaller ones fit into the same memory.

        An interrupt waits for the graph in hand: a capture that is broken off leaves the device's stream capturing.
        """
        largest = graph_replay.size_for(self._most_prompt_tokens, self.slots)
        worth = [size for size in reversed(graph_replay.PROMPT_SIZES) if size <= largest]
        shapes = [self._prompt_shape(size, min(self._longest_prompt, size)) for size in worth]
        shapes += [Shape(rows) for rows in reversed(self._rows)]
        for i, shape in enumerate(shapes):
            if progress:
                progress(i, len(shapes))
            with interrupts_deferred(lambda: False):
                self._capture(shape)
        if progress:
            progress(len(shapes), len(shapes))

    def _capture(self, shape: Shape) -> None:
        """Capture one, and compile what it needs; once more if what an earlier process has compiled is of no use."""
        try:
            self._captured(shape, sampled=False)
        except CbvizError:
            raise
        except Exception as error:  # Inductor, Triton and the driver each raise their own
            if not start_afresh(error):
                raise
            torch.compiler.reset()
            self._captured(shape, sampled=False)

    @property
    def ready(self) -> int:
        """How many shapes can run at once. One that is first needed in the middle of a run stops it for its capture."""
        return len(self._shapes)

    def provide_swap(self, blocks: int) -> int:
        """See `Executor`."""
        return self.cache.provide_swap(blocks)


def best_static_attention(device: torch.device) -> StaticAttention:
    """The fastest attention that this device can run."""
    if device.type == "cuda":
        from cbviz.cuda.static_triton import TritonStaticAttention

        return TritonStaticAttention(device)
    return SdpaStaticAttention()
