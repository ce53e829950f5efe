"""One fixed-shape iteration on the device: ids in, model, tokens out. Compiled once, captured once a shape."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.cuda.attend import STATIC, STATIC_PASS, StaticAttention, StaticPass
from cbviz.cuda.compiled import CompiledParts, compile_part
from cbviz.cuda.drawing_tokens import BehindAttention
from cbviz.cuda.fused_projections import lay_side_by_side
from cbviz.cuda.history import History
from cbviz.cuda.layout import Layout, Shape
from cbviz.eager.attention_hook import check_calls, logits_of, working_on
from cbviz.eager.kv_cache import KVCache
from cbviz.eager.logit_rules import SlotRules
from cbviz.eager.sampling import SlotSampling
from cbviz.eager.serving import serving_copy
from cbviz.models.needs import AttentionNeeds


class StaticForward:
    """Runs fixed-shape iterations of a model.

    Parameters
    ----------
    model
        In eval mode. Its projections of one input are laid side by side in memory; nothing else about it changes, for
        what runs is a copy of its modules over the same weights.
    needs
        What it asks of attention.
    slots
        Slots of the engine; slot number `slots` is scratch, where padding reads and writes.
    cache, attention
        Where keys and values lie, and what attends to them.
    blocks_a_request
        Columns of the block table.
    compiled
        Whether torch.compile may work on the model's layers.
    rules, history
        Rules for logits, if there are any, and the slots' tokens, if a rule reads them; they have a scratch slot, too.

    Attributes
    ----------
    latest
        int64 [slots + 1]: each slot's latest token.
    tables
        int32 [slots + 1, blocks a request].
    sampling
        Each slot's sampling.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        needs: AttentionNeeds,
        *,
        slots: int,
        cache: KVCache,
        attention: StaticAttention,
        blocks_a_request: int,
        compiled: bool = True,
        rules: SlotRules | None = None,
        history: History | None = None,
    ) -> None:
        device = model.device
        self.model = serving_copy(model, needs)
        self.needs = needs
        self.device = device
        self.cache = cache
        self._attention = attention
        self.latest = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        self.tables = torch.zeros((slots + 1, blocks_a_request), dtype=torch.int32, device=device)
        self._arrivals = torch.zeros(slots * cache.kv_heads, dtype=torch.int32, device=device)
        self.sampling = SlotSampling(slots + 1, device)
        self.rules = rules
        self.history = history
        # Before anything is captured, compiled or not: the first graphs of a model fix where its weights lie for good.
        lay_side_by_side(model)
        self._behind = BehindAttention(self.model, needs)
        self._compiled = CompiledParts(self.model) if compiled else None
        self._begin, self._finish = (_versions(part, compiled) for part in (begin, self._draw))

    @torch.no_grad()
    def run(self, layout: Layout, flat: Tensor, tokens: Tensor, sampled: bool) -> None:
        """One iteration: read its description from `flat`, write the drawn tokens to `tokens` (int32 [draws]).

        `sampled` False takes the most likely token everywhere, whatever the slots' temperatures.
        """
        fields = layout.views(flat)
        one_token = layout.shape.width == 1
        ids, position = self._begin[one_token](fields["given"], fields["position"], fields["slot"], self.latest)
        static = StaticPass(layout.shape, fields, self.tables, self._arrivals, self.cache, self._attention)
        parts = self._compiled.in_place(one_token=one_token) if self._compiled else nullcontext()
        # Decoding rows all draw, in their order, so that all logits are kept.
        keep = fields["last"].long() if layout.shape.tokens else None
        self._behind.need(keep, layout.shape.width)
        with working_on(STATIC_PASS, static), parts:
            logits = logits_of(self.model, self.needs, ids, position, keep, STATIC)
        check_calls(self.needs, static.layer)
        torch._dynamo.mark_static(logits, 1)  # the vocabulary never changes
        # Tokens of each request, the one that is fed included: what the rules read. Not a kernel more without rules.
        length = None if self.rules is None else fields["position"][fields["last"].long()].long() + 1
        self._finish[one_token](logits, fields["seat"], fields["index"], self.latest, tokens, sampled, length)

    def _draw(
        self,
        logits: Tensor,
        seat: Tensor,
        index: Tensor,
        latest: Tensor,
        tokens: Tensor,
        sampled: bool,
        length: Tensor | None,
    ) -> None:
        """Draw the tokens (int32 [draws]) under the rules, and keep them as the slots' latest."""
        if self.rules is not None and length is not None:
            history = None if self.history is None else self.history.tokens[seat.long()]
            logits = self.rules.apply(logits, seat.long(), history, length, index.long())
        chosen = self.sampling.draw(logits, seat.long(), index.long(), sampled=sampled)
        latest[seat.long()] = chosen
        tokens.copy_(chosen)
        if self.history is not None and length is not None:
            self.history.tokens[seat.long(), length] = chosen.int()


def begin(given: Tensor, position: Tensor, slot: Tensor, latest: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [1, width] each: the tokens that go through the model, and their positions."""
    ids = torch.where(given >= 0, given.long(), latest[slot.long()])
    return ids.unsqueeze(0), position.long().unsqueeze(0)


def _versions(part: Callable[..., Any], compiled: bool) -> dict[bool, Callable[..., Any]]:
    """What runs for several tokens (False) and for a single one (True)."""
    return {one: compile_part(part, one_token=one) if compiled else part for one in (False, True)}


@dataclass(slots=True)
class Captured:
    """A shape that is ready to run: its layout, its inputs and outputs on the device, and its graph if there is one."""

    layout: Layout
    flat: Tensor
    tokens: Tensor
    graph: Any = None


def prepare(forward: StaticForward, shape: Shape, scratch: int, *, sampled: bool, pool: Any = None) -> Captured:
    """Allocate a shape's inputs and outputs and, on CUDA, warm it up and capture it into the graph memory `pool`."""
    layout = Layout(shape, scratch)
    device = forward.device
    flat = torch.tensor(layout.padding, device=device)  # a copy, int32
    captured = Captured(layout, flat, torch.zeros(shape.draws, dtype=torch.int32, device=device))
    if device.type != "cuda":
        return captured
    # Graphs are captured on a stream of the current device, which need not be the model's.
    with torch.cuda.device(device):
        capture(forward, captured, sampled, pool)
    return captured


def capture(forward: StaticForward, captured: Captured, sampled: bool, pool: Any) -> None:
    """Warm a shape up, and record its pass as a CUDA graph."""
    layout, device = captured.layout, forward.device
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        # Compiles, and lets kernels tune themselves, before anything is recorded.
        forward.run(layout, captured.flat, captured.tokens, sampled)
    torch.cuda.current_stream(device).wait_stream(stream)
    captured.graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured.graph, pool=pool):
        forward.run(layout, captured.flat, captured.tokens, sampled)
