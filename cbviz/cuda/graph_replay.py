"""A step as replays of CUDA graphs: tokens read one step behind.

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

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cbviz.core.executor import Result, Step
from cbviz.cuda.layout import ALIGNMENT, PromptPieces, Shape, StagingBuffer
from cbviz.cuda.static_forward import Captured, StaticForward, prepare
from cbviz.eager.out_of_memory import OUT_OF_MEMORY, out_of_memory
from cbviz.events import IntArray

PROMPT_LENGTHS = (128, 512, 2048, 8192)
"""Lengths of a pass's longest prompt that a graph is made for: attention launches work for prompts of that length."""
PROMPT_SIZES = (64, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096, 6144, 8192)
"""Prompt tokens that an iteration is padded to. More than the last are split over several passes."""
TOKENS_A_PROMPT = 16
"""Prompt tokens for which a graph has room for one prompt: each room is a row of logits, needed or not."""
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


def prompts_in(tokens: int) -> int:
    """Prompts for which a graph of so many prompt tokens has room, if there are slots for them."""
    return max(1, tokens // TOKENS_A_PROMPT)


def size_for(tokens: int, prompts: int) -> int:
    """The smallest of `PROMPT_SIZES` that holds this many tokens of this many prompts; the largest if none does."""
    fitting = (size for size in PROMPT_SIZES if size >= tokens and prompts_in(size) >= prompts)
    return next(fitting, PROMPT_SIZES[-1])


def keys_size(keys: int) -> int:
    """`FEWEST_KEYS` times the power of 2 that holds these keys."""
    return FEWEST_KEYS << max(0, (-(-keys // FEWEST_KEYS) - 1).bit_length())


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


class GraphReplay:
    """Runs steps on a prepared `StaticForward`; `GraphExecutor` makes it and says what its arguments mean."""

    def __init__(self, forward: StaticForward, *, lag: int, context_limit: int, longest_prompt: int | None) -> None:
        self.device = forward.device
        self.slots = slots = len(forward.latest) - 1
        self.lag = lag
        self.cache = forward.cache
        self._forward = forward
        self._rules, self._history = forward.rules, forward.history
        self._rows = row_sizes(slots)
        self._shapes: dict[tuple[Shape, bool], Captured] = {}
        cuda = self.device.type == "cuda"
        self._graph_pool = torch.cuda.graph_pool_handle() if cuda else None
        self._sent_tables: IntArray = np.full(tuple(forward.tables.shape), -2, np.int32)
        self._prompt: list[IntArray] = [np.zeros(0, np.int32)] * slots  # the tokens that the host has of each seat
        self._known = np.zeros(slots, np.int32)  # and how many
        keys = keys_size(MOST_KEYS + context_limit)
        most = 4 * (self._rows[-1] + PROMPT_SIZES[-1]) + 7 * (self._rows[-1] + slots) + keys + 16 * ALIGNMENT
        self._inputs = cycle([StagingBuffer(most, self.device) for _ in range(2 * BUFFERS)])
        self._tables = cycle([StagingBuffer(self._sent_tables.size, self.device) for _ in range(BUFFERS)])
        self._outputs = cycle([torch.zeros(2 * slots, dtype=torch.int32, pin_memory=cuda) for _ in range(BUFFERS)])
        self._longest_prompt = min(longest_prompt or PROMPT_LENGTHS[-1], PROMPT_LENGTHS[-1])
        self._latest: GraphTicket | None = None

    def launch(self, step: Step) -> GraphTicket:
        """See `Executor`."""
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
        if step.swap_out or step.swap_in:
            self.cache.swap(step.swap_out, step.swap_in)
        self._send_tables(step.tables)
        # A row of one token decodes if the device has that token; the prompts' tokens are on the host.
        known = self._known[step.slot]
        decoding = np.flatnonzero(step.start >= known).astype(np.int32)
        host = next(self._outputs)
        order = np.zeros(len(step.slot), np.int32)
        used = padded = 0
        passes = self._passes(step, np.flatnonzero(step.start < known).tolist())
        for i, pieces in enumerate(passes):
            rows = decoding if i == len(passes) - 1 else decoding[:0]
            # Only the last piece of a pass can be one that its row continues from: it yields nothing.
            ended = pieces.row[pieces.end == (step.start + step.count)[pieces.row]]
            shape = self._run_shape(step, rows, pieces, host, used, len(ended))
            drawn = shape.rows if len(rows) else 0
            order[rows] = used + np.arange(len(rows))
            order[ended] = used + drawn + np.arange(len(ended))
            used += drawn + len(ended)
            padded += shape.rows - len(rows)
        self._latest = GraphTicket(host, order, begun, self._event(), padded)
        return self._latest

    def collect(self, ticket: GraphTicket) -> Result:
        """See `Executor`."""
        ticket.collected = True
        seconds = None
        if ticket.done is not None:
            ticket.done.synchronize()
            if self.lag:
                seconds = ticket.begun.elapsed_time(ticket.done) / 1e3
        return Result(ticket.host.numpy()[ticket.order], seconds, ticket.padded)

    def pause(self) -> None:
        """The caller does something else: the next step begins when it is launched, or when the device gets to it."""
        self._latest = None

    def _passes(self, step: Step, prompting: list[int]) -> list[PromptPieces]:
        """Prompts, or pieces of long ones, in packs that a graph can hold; one empty pack if there are none."""
        if not prompting:
            return [NO_PIECES]
        packs: list[list[tuple[int, int, int]]] = [[]]
        tokens, keys, most = 0, 0, prompts_in(PROMPT_SIZES[-1])
        for row in prompting:
            start, end = int(step.start[row]), int(step.start[row] + step.count[row])
            while start < end:
                room = PROMPT_SIZES[-1] - tokens
                full = room == 0 or len(packs[-1]) == most
                if full or (packs[-1] and keys + min(end, start + room) > MOST_KEYS):
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

        The tokens of the shape's rows, if any decodes, and of the first `ended` pieces go to the host, from `at` on.
        """
        if len(pieces.row):
            total = int(pieces.count.sum())
            size = size_for(total, len(pieces.row))
            longest = max(int(pieces.count.max()), min(self._longest_prompt, size))
            shape = self._prompt_shape(size, longest, keys_size(int(pieces.end.sum())) if pieces.start.any() else 0)
        else:
            shape = Shape(next(size for size in self._rows if size >= len(rows)))
        sampled = self._forward.sampling.any_drawn(step.slot[np.concatenate([rows, pieces.row])])
        captured = self._captured(shape, sampled)
        buffer = next(self._inputs)
        places = zip(step.slot[pieces.row], pieces.start, pieces.end, strict=True)
        tokens = [self._prompt[slot][start:end] for slot, start, end in places]
        flat = buffer.open(captured.layout.length)
        captured.layout.fill(flat, step, rows, pieces, tokens, self.cache.block_size)
        buffer.send(captured.flat)
        if captured.graph is None:
            self._forward.run(captured.layout, captured.flat, captured.tokens, sampled)
        else:
            captured.graph.replay()
        drawn = captured.tokens[0 if len(rows) else shape.rows : shape.rows + ended]
        if len(drawn):
            host[at : at + len(drawn)].copy_(drawn, non_blocking=True)
        return shape

    def _send_tables(self, tables: IntArray) -> None:
        """Copy the block tables to the device if they have changed. An engine may have fewer slots than we have."""
        if np.array_equal(self._sent_tables[: len(tables)], tables):
            return
        self._sent_tables[: len(tables)] = tables
        self._sent_tables[len(tables) :] = 0
        buffer = next(self._tables)
        buffer.open(self._sent_tables.size)[:] = self._sent_tables.reshape(-1)
        buffer.send(self._forward.tables)

    def _event(self) -> Any:
        if self.device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    # ------------------------------------------------------------------ shapes

    def _prompt_shape(self, tokens: int, longest: int, keys: int = 0) -> Shape:
        """The shape for up to `tokens` prompt tokens in prompts of up to `longest` that see `keys` cached positions."""
        longest = min(tokens, next(size for size in PROMPT_LENGTHS if size >= longest))
        return Shape(self._rows[-1], tokens, min(self.slots, prompts_in(tokens)), longest, keys)

    def _captured(self, shape: Shape, sampled: bool) -> Captured:
        key = (shape, sampled)
        if key not in self._shapes:
            try:
                self._shapes[key] = prepare(self._forward, shape, self.slots, sampled=sampled, pool=self._graph_pool)
            except OUT_OF_MEMORY as error:
                raise out_of_memory(self.device, f"capturing the graph of {shape.width:,} tokens") from error
        return self._shapes[key]
