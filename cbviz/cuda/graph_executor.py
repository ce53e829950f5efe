"""The executor for speed: whole iterations as CUDA graphs, tokens read one step behind.

An eager forward pass of a large model launches about a thousand kernels, and the GPU waits for the host most of the
time. Here an iteration is one replay of a graph that was captured for its shape: forward pass, sampling and all. The
host sends one small array of integers before it and gets the tokens through pinned memory after it, without ever
stopping the device: with `lag` 1 it plans iteration i + 1 while i runs.

Decoding rows and new prompts share one forward pass (Orca, OSDI'22, §3.2; the weights are read once for both).
Decode-only iterations use the smallest captured number of rows that holds them; iterations with prompts use one of a
few prompt sizes. Prompts that continue (later chunks, or behind a cached prefix) have graphs of their own, by how much
is cached; each is captured when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cbviz.config import KVBlocks
from cbviz.core.executor import Result, Step
from cbviz.core.interrupts import interrupts_deferred
from cbviz.cuda.attend import StaticAttention
from cbviz.cuda.history import History
from cbviz.cuda.layout import ALIGNMENT, PromptPieces, Shape
from cbviz.cuda.reasons import why_no_graphs
from cbviz.cuda.staging_buffer import StagingBuffer
from cbviz.cuda.static_forward import Captured, StaticForward, prepare
from cbviz.cuda.static_sdpa import SdpaStaticAttention
from cbviz.eager.kv_cache import cache_for
from cbviz.eager.logit_rules import LogitRules, SlotRules
from cbviz.eager.pass_settings import out_of_memory_explained
from cbviz.eager.serving import checked_limit, vocabulary_rows
from cbviz.errors import ModelError
from cbviz.events import BoolArray, IntArray
from cbviz.models.served import attention_needs, end_tokens_of

PROMPT_LENGTHS = (128, 512, 2048, 8192)
"""Lengths of a pass's longest prompt that a graph is made for: attention launches work for prompts of that length."""
PROMPT_SIZES = (64, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096, 6144, 8192)
"""Prompt tokens that an iteration is padded to. More than the last are split over several passes."""
FEWEST_KEYS = 1024
"""Cached positions that an iteration with continued prompts is padded to: this, or a power of 2 times it."""
MOST_KEYS = 32768
"""Cached positions that a pass reads for its prompts; a single prompt may need more."""
NO_PIECES = PromptPieces(*np.zeros((3, 0), np.int32))
BUFFERS = 4
"""Pinned buffers in rotation: more than the iterations that can be in flight. An iteration may have many passes."""


def row_sizes(slots: int) -> list[int]:
    """Numbers of decoding rows that graphs are captured for: 1, 2, 4, 8, then multiples of 8, of 16 above 64."""
    sizes = [1, 2, 4, 8, *range(16, 65, 8), *range(80, slots + 16, 16)]
    return sorted({min(size, slots) for size in sizes})


def keys_size(keys: int) -> int:
    """`FEWEST_KEYS` times the power of 2 that holds these keys."""
    return FEWEST_KEYS << max(0, (-(-keys // FEWEST_KEYS) - 1).bit_length())


def rows_where(condition: BoolArray) -> IntArray:
    """Indices at which it holds."""
    return condition.nonzero()[0].astype(np.int32)


@dataclass(slots=True)
class GraphTicket:
    """A launched step."""

    host: Tensor
    """int32, pinned: the tokens, once `done` has happened."""
    order: IntArray
    """Index into `host` of each row's token."""
    begun: Any
    done: Any
    padded: int
    collected: bool = False


class GraphExecutor:
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
        self.device = model.device
        self.slots = slots
        self.lag = lag
        self.context_limit = checked_limit(needs, limit)
        self.vocabulary = vocabulary_rows(model)
        self.end_tokens = end_tokens_of(model) if end_tokens is None else end_tokens
        self.cache = cache_for(model, needs, pool)
        blocks_a_request = min(pool.blocks, -(-self.context_limit // pool.block_size))
        self._rules = SlotRules.made(self.rules, model, slots + 1, self.end_tokens)
        positions = min(self.context_limit, pool.blocks * pool.block_size)
        self._history = History(slots, positions, self.device) if self.rules.reads_history else None
        self._forward = StaticForward(
            model,
            needs,
            slots=slots,
            cache=self.cache,
            attention=attention,
            blocks_a_request=blocks_a_request,
            compiled=compiled,
            rules=self._rules,
            history=self._history,
        )
        self._positions = pool.blocks * pool.block_size
        self._rows = row_sizes(slots)
        self._shapes: dict[tuple[Shape, bool], Captured] = {}
        self._graph_pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None
        self._sent_tables: IntArray = np.full((slots + 1, blocks_a_request), -2, np.int32)
        self._prompt: list[IntArray] = [np.zeros(0, np.int32)] * slots  # the tokens that the host has of each seat
        self._known = np.zeros(slots, np.int32)  # and how many
        pinned = self.device.type == "cuda"
        keys = keys_size(MOST_KEYS + self.context_limit)
        most = 4 * (self._rows[-1] + PROMPT_SIZES[-1]) + 7 * (self._rows[-1] + slots) + keys + 16 * ALIGNMENT
        self._inputs = cycle([StagingBuffer(most, self.device) for _ in range(2 * BUFFERS)])
        self._tables = cycle([StagingBuffer(self._sent_tables.size, self.device) for _ in range(BUFFERS)])
        self._outputs = cycle([torch.zeros(slots, dtype=torch.int32, pin_memory=pinned) for _ in range(BUFFERS)])
        self._longest_prompt = min(longest_prompt or PROMPT_LENGTHS[-1], PROMPT_LENGTHS[-1])
        self._latest: GraphTicket | None = None
        self.capture(progress)

    # ------------------------------------------------------------------ capturing

    def capture(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Capture the greedy graphs, largest first so that the smaller ones fit into the same memory.

        An interrupt waits for the graph in hand: a capture that is broken off leaves the device's stream capturing.
        """
        longest = self._longest_prompt
        shapes = [
            self._prompt_shape(size, min(longest, size))
            for size in reversed(PROMPT_SIZES)
            if size <= self._most_prompt_tokens()
        ]
        shapes += [Shape(rows) for rows in reversed(self._rows)]
        for i, shape in enumerate(shapes):
            if progress:
                progress(i, len(shapes))
            with interrupts_deferred(lambda: False):
                self._captured(shape, sampled=False)
        if progress:
            progress(len(shapes), len(shapes))

    @property
    def ready(self) -> int:
        """How many shapes can run at once. One that is first needed in the middle of a run stops it for its capture."""
        return len(self._shapes)

    def _most_prompt_tokens(self) -> int:
        """The largest prompt size worth capturing: all slots' prompts at once, if they are that long."""
        wanted = min(self.slots * self.context_limit, self._positions)
        return next((size for size in PROMPT_SIZES if size >= wanted), PROMPT_SIZES[-1])

    def _prompt_shape(self, tokens: int, longest: int, keys: int = 0) -> Shape:
        """The shape for up to `tokens` prompt tokens in prompts of up to `longest` that see `keys` cached positions."""
        longest = min(tokens, next(size for size in PROMPT_LENGTHS if size >= longest))
        return Shape(self._rows[-1], tokens, min(self.slots, tokens), longest, keys)

    def _captured(self, shape: Shape, sampled: bool) -> Captured:
        key = (shape, sampled)
        if key not in self._shapes:
            with out_of_memory_explained(self.device, f"capturing the graph of {shape.width:,} tokens"):
                self._shapes[key] = prepare(self._forward, shape, self.slots, sampled=sampled, pool=self._graph_pool)
        return self._shapes[key]

    # ------------------------------------------------------------------ running

    def provide_swap(self, blocks: int) -> int:
        """See `Executor`."""
        return self.cache.provide_swap(blocks)

    def launch(self, step: Step) -> GraphTicket:
        for seat in step.seats:
            self._prompt[seat.slot] = seat.tokens
            self._known[seat.slot] = len(seat.tokens)
            self._forward.sampling.set(seat.slot, seat.sampling)
            if self._rules is not None:
                self._rules.seat(seat.slot, seat.stops)
            if self._history is not None:
                self._history.seat(seat.slot, seat.tokens)
        # Behind a step that is still in flight this one begins when that one ends. A step that failed is not behind.
        before, self._latest = self._latest, None
        begun = self._event() if before is None or before.collected else before.done
        if swapped := len(step.swap_out) + len(step.swap_in):
            with out_of_memory_explained(self.device, f"swapping {swapped:,} KV blocks"):
                self.cache.swap(step.swap_out, step.swap_in)
        self._send_tables(step.tables)
        # A row of one token decodes if the device has that token; the prompts' tokens are on the host.
        known = self._known[step.slot]
        decoding = rows_where(step.start >= known)
        host = next(self._outputs)
        order = np.zeros(len(step.slot), np.int32)
        used = padded = 0
        passes = self._passes(step, rows_where(step.start < known))
        for i, pieces in enumerate(passes):
            rows = decoding if i == len(passes) - 1 else decoding[:0]
            # Only the last piece of a pass can be one that its row continues from: it yields nothing.
            ended = pieces.row[pieces.end == (step.start + step.count)[pieces.row]]
            shape = self._run_shape(step, rows, pieces, host, used, len(ended))
            order[rows] = used + np.arange(len(rows))
            order[ended] = used + len(rows) + np.arange(len(ended))
            used += len(rows) + len(ended)
            padded += shape.rows - len(rows)
        self._latest = GraphTicket(host, order, begun, self._event(), padded)
        return self._latest

    def collect(self, ticket: GraphTicket) -> Result:
        ticket.collected = True
        seconds = None
        if ticket.done is not None:
            ticket.done.synchronize()
            if self.lag:
                seconds = ticket.begun.elapsed_time(ticket.done) / 1e3
        return Result(ticket.host.numpy()[ticket.order], seconds, ticket.padded)

    def _passes(self, step: Step, prompting: IntArray) -> list[PromptPieces]:
        """Prompts, or pieces of long ones, in packs that a graph can hold; one empty pack if there are none."""
        if not len(prompting):
            return [NO_PIECES]
        packs: list[list[tuple[int, int, int]]] = [[]]
        tokens = keys = 0
        for row in prompting.tolist():
            start, end = int(step.start[row]), int(step.start[row] + step.count[row])
            while start < end:
                room = PROMPT_SIZES[-1] - tokens
                if room == 0 or (packs[-1] and keys + min(end, start + room) > MOST_KEYS):
                    packs.append([])
                    tokens, keys, room = 0, 0, PROMPT_SIZES[-1]
                count = min(room, end - start)
                packs[-1].append((row, start, count))
                start += count
                tokens += count
                keys += start
        return [PromptPieces(*np.array(pack, np.int32).reshape(-1, 3).T) for pack in packs]

    def _run_shape(self, step: Step, rows: IntArray, pieces: PromptPieces, host: Tensor, at: int, ended: int) -> Shape:
        """Fill, send and replay the smallest shape that holds these rows and pieces.

        The tokens of the rows and of the first `ended` pieces go to the host, from `at` on.
        """
        if len(pieces.row):
            total = int(pieces.count.sum())
            size = next(size for size in PROMPT_SIZES if size >= total)
            longest = max(int(pieces.count.max()), min(self._longest_prompt, size))
            shape = self._prompt_shape(size, longest, keys_size(int(pieces.end.sum())) if pieces.start.any() else 0)
        else:
            shape = Shape(next(size for size in self._rows if size >= len(rows)))
        sampled = self._forward.sampling.any_drawn(step.slot[np.concatenate([rows, pieces.row])])
        captured = self._captured(shape, sampled)
        buffer = next(self._inputs)
        tokens = [
            self._prompt[step.slot[row]][start:end]
            for row, start, end in zip(pieces.row, pieces.start, pieces.end, strict=True)
        ]
        flat = buffer.open(captured.layout.length)
        captured.layout.fill(flat, step, rows, pieces, tokens, self.cache.block_size)
        buffer.send(captured.flat)
        if captured.graph is None:
            self._forward.run(captured.layout, captured.flat, captured.tokens, sampled)
        else:
            captured.graph.replay()
        for begin, n in ((0, len(rows)), (shape.rows, ended)):
            if n:
                host[at : at + n].copy_(captured.tokens[begin : begin + n], non_blocking=True)
                at += n
        return shape

    def _send_tables(self, tables: IntArray) -> None:
        """Copy the block tables to the device if they have changed."""
        if np.array_equal(self._sent_tables[:-1], tables):
            return
        self._sent_tables[:-1] = tables
        self._sent_tables[-1] = 0
        buffer = next(self._tables)
        buffer.open(self._sent_tables.size)[:] = self._sent_tables.reshape(-1)
        buffer.send(self._forward.tables)

    def _event(self) -> Any:
        if self.device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event


def best_static_attention(device: torch.device) -> StaticAttention:
    """The fastest attention that this device can run."""
    if device.type == "cuda":
        from cbviz.cuda.static_triton import TritonStaticAttention

        return TritonStaticAttention(device)
    return SdpaStaticAttention()
