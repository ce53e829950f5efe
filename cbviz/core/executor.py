"""The seam between the loop and whatever computes: a step goes in, tokens come out.

Executors compute and decide nothing. They keep each slot's token ids: an admission loads the known ones, and every
sampled token is appended where it was sampled, so that the next iteration can start before the host has seen it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from cbviz.events import IntArray
from cbviz.workload.request import Sampling

Copies = tuple[tuple[int, int], ...]
"""Pairs of blocks: from, to."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A request takes a slot: what the executor must know to compute it there.

    `tokens` are the ids known so far: the prompt and, after a preemption, the output so far. `stops` are the tokens
    that end it besides the model's END; None says that its length is forced, so that no token ends it.
    """

    slot: int
    tokens: IntArray
    sampling: Sampling
    stops: tuple[int, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that are guessed to follow a slot's last one: `tokens` (int32 [drafts]) at positions `start` and on."""

    slot: int
    start: int
    tokens: IntArray


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass over ragged rows. All row arrays have R entries; rows that fed nothing are not listed.

    Attributes
    ----------
    iteration
        Its index.
    seats
        Who was admitted just now.
    slot
        int32 [R], ascending: the slot of each row. It names a slot once; where drafts are checked, also once more for
        each of them: such a row feeds the draft at its own position, and draws what follows it.
    start, count
        int32 [R]: the row feeds positions start … start + count - 1 of its slot.
    draw
        int32 [R]: index of the output token that this row yields (0 is the first); it seeds the row's noise. -1 where
        the row takes in a chunk of its prompt that is not the last one, and yields nothing.
    tables
        int32 [slots, blocks a request]: the KV block of every `block_size` positions, -1 where there is none.
    swap_out
        (KV block, block in host memory): what to copy to host memory before everything else.
    swap_in
        (block in host memory, KV block): what to copy back, after that and before the pass.
    drafts
        Tokens that rows of this step feed and that no pass has drawn (`cbviz.core.speculation`). Only executors with a
        true attribute `takes_drafts` are given any. What they draw themselves takes the places of the drafts.
    """

    iteration: int
    seats: tuple[Seat, ...]
    slot: IntArray
    start: IntArray
    count: IntArray
    draw: IntArray
    tables: IntArray
    swap_out: Copies = ()
    swap_in: Copies = ()
    drafts: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a step gave.

    Attributes
    ----------
    tokens
        int32 [R]: the sampled token of each row; anything where the row yields none.
    seconds
        How long the step took, for executors that have a clock of their own (device events, a cost model); None lets
        the engine measure it.
    padded
        Rows that were computed only to fill a CUDA graph's batch.
    """

    tokens: IntArray
    seconds: float | None = None
    padded: int = 0


class Executor(Protocol):
    """Computes steps in the order in which they are launched."""

    @property
    def context_limit(self) -> int:
        """The most positions that one request may have."""
        ...

    @property
    def vocabulary(self) -> int | None:
        """Token ids of prompts lie below this; None if any will do."""
        ...

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Token ids with which the model ends an output."""
        ...

    def provide_swap(self, blocks: int) -> int:
        """Make room for KV blocks in host memory. Called before the first step.

        Parameters
        ----------
        blocks
            How many.

        Returns
        -------
        int
            Bytes of one block.

        Raises
        ------
        CapacityError
            There is not that much host memory.
        """
        ...

    def launch(self, step: Step) -> Any:
        """Start a step. May return before the device is done.

        Parameters
        ----------
        step
            What to compute.

        Returns
        -------
        ticket
            The executor's own object, for `collect`.
        """
        ...

    def collect(self, ticket: Any) -> Result:
        """Wait for a launched step. Tickets are collected in the order in which they were launched.

        Parameters
        ----------
        ticket
            What `launch` returned.

        Returns
        -------
        Result
            Its tokens, and its duration if the executor has a clock.
        """
        ...
