"""The input of a graph: one flat array of integers, always in the same place.

A CUDA graph repeats the same kernels on the same addresses, so everything that changes from one iteration to the next
(which rows decode, where, how far) travels in one int32 array that the host fills and copies before each replay. Shapes
never change: rows and tokens that an iteration does not need are padding, which reads a scratch slot and writes
nothing. The array leaves the host without waiting: from pinned memory, overwritten only once the device has fetched it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cbviz.core.executor import Step
from cbviz.events import IntArray

FROM_DEVICE = -1
"""In `given`: the token is the slot's latest one, which the host may not have seen."""
NOWHERE = -1
"""In `slot_mapping`: padding, whose keys and values are not written."""

ALIGNMENT = 4
"""Fields begin at multiples of 16 bytes: Triton compiles a kernel anew for addresses that do not."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The fixed shape of a graph.

    `rows` that decode one token each, then `tokens` of up to `prompts` prompts, none of them longer than `longest`.
    `keys` 0 says that all prompts begin here; else some continue, and see up to `keys` cached positions together.
    """

    rows: int
    tokens: int = 0
    prompts: int = 0
    longest: int = 0
    keys: int = 0

    @property
    def width(self) -> int:
        """Tokens that go through the model."""
        return self.rows + self.tokens

    @property
    def draws(self) -> int:
        """Tokens that come out: one a decoding row, one a prompt."""
        return self.rows + self.prompts


@dataclass(frozen=True, slots=True)
class PromptPieces:
    """What an iteration reads of prompts in one pass: for each piece its row of the step and a range of positions."""

    row: IntArray
    start: IntArray
    count: IntArray

    @property
    def end(self) -> IntArray:
        """Positions that are cached after the pass."""
        return self.start + self.count


class Layout:
    """Where each field of a shape lies in its flat array.

    Fields, each int32
    ------------------
    given [width]
        Token ids that the host knows (prompts), or `FROM_DEVICE`.
    slot, position, slot_mapping [width]
        Each token's slot, its position in the request, and its flat position in the KV cache or `NOWHERE`.
    context [rows]
        Cached positions of each decoding row, the new one included; 0 is padding.
    cu_seqlens_q [prompts + 1]
        Where each prompt's tokens begin among those of the pass. Padding prompts are empty.
    cu_seqlens_k [prompts + 1], gather [keys]
        Where some prompts continue: where each prompt's keys begin in `gather`, and the cache positions of the keys.
    last [draws]
        Index of the token after which each output token is drawn.
    seat, index [draws]
        The slot that draws it, and the index of that output token (it seeds the noise).
    """

    def __init__(self, shape: Shape, scratch: int) -> None:
        self.shape = shape
        self.scratch = scratch
        lengths = {
            **dict.fromkeys(("given", "slot", "position", "slot_mapping"), shape.width),
            "context": shape.rows,
            "cu_seqlens_q": shape.prompts + 1,
            "cu_seqlens_k": shape.prompts + 1 if shape.keys else 0,
            "gather": shape.keys,
            **dict.fromkeys(("last", "seat", "index"), shape.draws),
        }
        self._fields: dict[str, slice] = {}
        self.length = 0
        for name, length in lengths.items():
            self._fields[name] = slice(self.length, self.length + length)
            self.length += -(-length // ALIGNMENT) * ALIGNMENT

    @cached_property
    def padding(self) -> IntArray:
        """The array of an iteration in which every row is padding."""
        flat = np.zeros(self.length, np.int32)
        flat[self._fields["slot_mapping"]] = NOWHERE
        flat[self._fields["slot"]] = flat[self._fields["seat"]] = self.scratch
        return flat

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The fields as views into a flat tensor."""
        return {name: flat[place] for name, place in self._fields.items()}

    def fill(
        self,
        flat: IntArray,
        step: Step,
        decoding: IntArray,
        pieces: PromptPieces,
        tokens: Sequence[IntArray],
        block_size: int,
    ) -> None:
        """Write an iteration into a flat array.

        Parameters
        ----------
        flat
            int32 [length], overwritten.
        decoding, pieces
            Rows of the step that feed one token the device knows, and pieces of prompts.
        tokens
            The pieces' token ids.
        block_size
            Positions in a KV block.
        """
        flat[:] = self.padding
        shape, put = self.shape, self._fields
        n, slot, start = len(decoding), step.slot, step.start
        flat[put["given"]][:n] = FROM_DEVICE
        flat[put["slot"]][:n] = flat[put["seat"]][:n] = slot[decoding]
        flat[put["position"]][:n] = position = start[decoding]
        flat[put["slot_mapping"]][:n] = _flat_position(step.tables, slot[decoding], position, block_size)
        flat[put["context"]][:n] = position + 1
        flat[put["last"]][:n] = np.arange(n)
        flat[put["index"]][:n] = step.draw[decoding]
        if not len(pieces.row):
            return
        begin = np.concatenate([[0], np.cumsum(pieces.count)])
        total, first = int(begin[-1]), shape.rows
        owner, position = _positions(slot[pieces.row], pieces.start, pieces.count)
        here = slice(first, first + total)
        flat[put["given"]][here] = np.concatenate(tokens)
        flat[put["slot"]][here] = owner
        flat[put["position"]][here] = position
        flat[put["slot_mapping"]][here] = _flat_position(step.tables, owner, position, block_size)
        _cumulate(flat[put["cu_seqlens_q"]], pieces.count, first)
        if shape.keys:
            owner, position = _positions(slot[pieces.row], np.zeros_like(pieces.end), pieces.end)
            flat[put["gather"]][: len(position)] = _flat_position(step.tables, owner, position, block_size)
            _cumulate(flat[put["cu_seqlens_k"]], pieces.end)
        # A piece that does not end its chunk, or whose chunk yields nothing, draws into the scratch slot.
        draws = slice(shape.rows, shape.rows + len(pieces.row))
        flat[put["last"]][draws] = first + begin[1:] - 1
        draw = np.where(pieces.end == start[pieces.row] + step.count[pieces.row], step.draw[pieces.row], -1)
        flat[put["seat"]][draws] = np.where(draw >= 0, slot[pieces.row], self.scratch)
        flat[put["index"]][draws] = np.maximum(draw, 0)


def _positions(slot: IntArray, start: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
    """Slot and position of every token of ranges that lie end to end."""
    begin = np.cumsum(count) - count
    return np.repeat(slot, count), (np.arange(int(count.sum())) + np.repeat(start - begin, count)).astype(np.int32)


def _cumulate(field: IntArray, lengths: IntArray, first: int = 0) -> None:
    """Where each of these lengths begins and ends, from `first` on; entries behind the last one are empty."""
    ends = first + np.cumsum(lengths)
    field[0] = first
    field[1 : len(ends) + 1] = ends
    field[len(ends) + 1 :] = ends[-1]


def _flat_position(tables: IntArray, slot: IntArray, position: IntArray, block_size: int) -> IntArray:
    block: IntArray = tables[slot, position // block_size]
    return block * block_size + position % block_size


class StagingBuffer:
    """A pinned buffer of int32 that the host fills and the device copies from, when it gets there.

    Parameters
    ----------
    length
        Numbers that it holds.
    device
        Where they go.
    """

    def __init__(self, length: int, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._host = torch.zeros(length, dtype=torch.int32, pin_memory=cuda)
        self._sent: Any = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]

    def open(self, length: int) -> IntArray:
        """Its first `length` numbers, to be filled; waits for the device if it has not fetched the last ones yet."""
        if self._sent is not None:
            self._sent.synchronize()
        numbers: IntArray = self._host[:length].numpy()
        return numbers

    def send(self, target: Tensor) -> None:
        """Copy as many numbers as `target` holds, behind everything that the device has queued before."""
        target.view(-1).copy_(self._host[: target.numel()], non_blocking=True)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(self._device))
