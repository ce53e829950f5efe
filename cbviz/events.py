"""What happened in one iteration: the one message that the engine sends to the world.

The engine yields one `Iteration` for each forward pass. The recorder folds them into a `Trace`; the board draws them
live; metrics count them. Nothing else of the engine is visible outside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz._moved import moved_name
from cbviz.checks import counted

IntArray = npt.NDArray[np.int32]
StateArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

NO_REQUEST = -1
"""In `Iteration.request`: the slot is empty. In `Iteration.token`: the slot gave no token."""


class State(IntEnum):
    """What a slot did in an iteration. Useful is what advances a prompt or an output position for the first time."""

    IDLE = 0
    """Empty. *Wasted* while requests wait, *spare* while none does (see `Iteration.waiting`)."""
    PREFILL = 1
    """Took in prompt tokens for the first time; the last chunk of a prompt also yields a token."""
    DECODE = 2
    """Produced a token that its request asked for."""
    RECOMPUTE = 3
    """Took in again what a preemption discarded."""
    HELD = 4
    """Its request has finished, but the batch still runs: computed and discarded."""
    STALLED = 5
    """Its request is admitted but got no tokens this iteration; `Iteration.stalled` has the reason."""

    @property
    def useful(self) -> bool:
        """Whether it advances a prompt or an output position for the first time."""
        return self in (State.PREFILL, State.DECODE)


class FinishReason(IntEnum):
    """Why an output ended."""

    END = 0
    """The model's own end-of-sequence token."""
    STOP = 1
    """One of the request's stop tokens."""
    LENGTH = 2
    """`max_new_tokens` reached (or the forced output length)."""
    CANCELLED = 3
    """Cancelled by the caller."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to one request at an iteration's boundary.

    `reason` is in the policy's own words (admissions, preemptions, stalls) and may be empty.
    `slot` is the slot that it took (admission) or gave up (preemption) or finished in.
    Where the run itself was changed (`Iteration.changed`) there is no request: `request` is `NO_REQUEST`, `reason` says
    what was set, such as "policy = static", and `slot` is the number of open slots, `NO_REQUEST` if it is not about
    them.
    """

    request: int
    slot: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """A request's output ended in this iteration (its slot may still be held by its batch afterwards)."""

    request: int
    slot: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Reuse:
    """An admitted request was looked up in the prefix cache: `found` of its `asked` tokens need not be computed."""

    request: int
    asked: int
    found: int


@dataclass(frozen=True, slots=True)
class Drafted:
    """A slot checked `drafts` guessed tokens besides computing its own (speculative decoding).

    `tokens` are the output tokens that it gave after `Iteration.token`, one for each draft that was accepted. The other
    drafts were rejected: computed and discarded.
    """

    request: int
    slot: int
    drafts: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Iteration:
    """One forward pass, slot by slot.

    All arrays have one entry a slot. Times are seconds on the lane's clock, which starts at 0 and is advanced by the
    measured duration of the lane's own iterations, planning included.

    Attributes
    ----------
    index
        0, 1, 2, …
    t_start, t_end
        Seconds on the lane's clock.
    request
        int32 [slots]: the request in the slot, `NO_REQUEST` if it is empty.
    state
        uint8 [slots]: a `State` each.
    tokens
        int32 [slots]: tokens fed through the model for this slot in this iteration.
    context
        int32 [slots]: positions of this slot whose keys and values are in the cache after the iteration.
    token
        int32 [slots]: the output token that this slot gave, `NO_REQUEST` if none. Held slots give none. Where a slot
        gave several, this is the first; `drafted` has the others.
    allotted
        int32 [slots]: positions that its KV blocks have room for.
    arrived
        Ids of the requests that entered the queue before this iteration, in order.
    admitted, preempted, stalled
        Marks, in the order in which the policy named them.
    finished
        Outputs that ended with this iteration's token.
    cancelled
        Requests that were cancelled before this iteration (slot `NO_REQUEST` if it was waiting).
    changed
        What was changed about the run before this iteration: its policy, its number of open slots, what arrives.
    waiting
        Length of the queue while the iteration ran: requests that had arrived and were not admitted.
    blocks_used, blocks_reserved, blocks_total
        KV blocks: holding at least one written position, allotted but still unwritten, in the pool. A block that
        several requests share counts once.
    written
        Positions of the pool that hold keys and values of requests in slots. What the blocks used have beyond it is
        internal fragmentation.
    reused
        Requests that were looked up in the prefix cache at admission, and what was found.
    evicted
        Blocks whose content could have been found in the prefix cache, and that were taken for something else.
    swapped_out, swapped_in
        KV blocks copied to host memory before the pass, because their requests were preempted, and from there.
    padded
        Rows that only pad a CUDA graph's batch; they are no slots.
    drafted
        Slots that checked drafts, and what came of them.
    """

    index: int
    t_start: float
    t_end: float
    request: IntArray
    state: StateArray
    tokens: IntArray
    context: IntArray
    token: IntArray
    allotted: IntArray
    arrived: tuple[int, ...] = ()
    admitted: tuple[Mark, ...] = ()
    finished: tuple[Finish, ...] = ()
    preempted: tuple[Mark, ...] = ()
    stalled: tuple[Mark, ...] = ()
    cancelled: tuple[Mark, ...] = ()
    changed: tuple[Mark, ...] = ()
    waiting: int = 0
    blocks_used: int = 0
    blocks_reserved: int = 0
    blocks_total: int = 0
    written: int = 0
    reused: tuple[Reuse, ...] = ()
    evicted: int = 0
    swapped_out: int = 0
    swapped_in: int = 0
    padded: int = 0
    drafted: tuple[Drafted, ...] = ()

    @property
    def slots(self) -> int:
        """Slots of the engine."""
        return len(self.request)

    @property
    def generated(self) -> int:
        """Output tokens that requests asked for and got in this iteration."""
        return int(np.count_nonzero(self.token != NO_REQUEST)) + sum(len(entry.tokens) for entry in self.drafted)

    @property
    def given(self) -> dict[int, tuple[int, ...]]:
        """Slot → the output tokens that it gave, of the slots that gave any."""
        given: dict[int, tuple[int, ...]] = {}
        for slot in np.flatnonzero(self.token != NO_REQUEST).tolist():
            given[slot] = (int(self.token[slot]),)
        for entry in self.drafted:
            given[entry.slot] += entry.tokens
        return given

    @property
    def useful(self) -> int:
        """Slots that advanced a prompt or an output position for the first time."""
        return int(np.count_nonzero((self.state == State.PREFILL) | (self.state == State.DECODE)))

    @property
    def seconds(self) -> float:
        """How long it took on the lane's clock."""
        return self.t_end - self.t_start

    def __repr__(self) -> str:
        busy = int(np.count_nonzero(self.request != NO_REQUEST))
        return f"<Iteration {self.index}: {busy} of {counted(self.slots, 'slot')} busy, {self.waiting} waiting>"


def __getattr__(name: str) -> Any:
    return moved_name("events", name)
