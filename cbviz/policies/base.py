"""The contract between a scheduler and the engine: what a policy sees, and what it may ask for.

Before every iteration the engine calls `policy.plan(view)`. The view is a value: read-only, true for as long as it is
kept, and without a way to how long an output will be. The plan is a *difference*: which requests to admit, hold, pause,
chunk or preempt. What it does not mention goes on by default: every running request takes in the rest of its prompt, or
decodes one token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable


class RequestView(NamedTuple):
    """One request as a scheduler may see it.

    A named tuple, because hundreds are made before every iteration, and this is made five times as fast as a dataclass.

    Attributes
    ----------
    id, arrival, prompt_tokens, max_new_tokens
        What the request declared. `arrival` is in the workload's unit.
    generated
        Output tokens so far.
    computed
        Positions whose keys and values are in the cache now. While it waits: those that an admission would find, in the
        prefix cache or swapped out to host memory; without either 0, also after a preemption.
    slot
        The slot it sits in, None while it waits.
    admitted
        Index of the iteration in which it was (last) admitted, None if it never was.
    preemptions
        How often it lost its slot.
    blocks
        KV blocks that it has now. While it waits: those that it would share with a running request, and that an
        admission need not take from the free ones.
    shared
        Those of its blocks that another request uses, too: its leaving does not free them.
    swapped
        While it waits: KV blocks that it has in host memory.
    """

    id: int
    arrival: float
    prompt_tokens: int
    max_new_tokens: int
    generated: int = 0
    computed: int = 0
    slot: int | None = None
    admitted: int | None = None
    preemptions: int = 0
    blocks: int = 0
    shared: int = 0
    swapped: int = 0

    @property
    def known(self) -> int:
        """Tokens known so far: the prompt and what was generated."""
        return self.prompt_tokens + self.generated

    @property
    def lacks(self) -> int:
        """Tokens it must take in before its next token comes out: 1 while it decodes, more while it prefills."""
        return self.prompt_tokens + self.generated - self.computed

    @property
    def most(self) -> int:
        """The most positions it can ever need: prompt + max_new_tokens (what Orca reserves)."""
        return self.prompt_tokens + self.max_new_tokens

    @property
    def frees(self) -> int:
        """Blocks that are free once it alone leaves (see `View.freed_by`)."""
        return self.blocks - self.shared


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a policy may know before an iteration.

    A view is a value. It cannot be changed, and one that a policy keeps says later what was true when it was made.
    Nothing in it leads to the engine or to the forced length of an output.

    Attributes
    ----------
    iteration
        Index of the iteration to be planned.
    now
        Seconds on the lane's clock.
    slots
        Number of slots.
    waiting
        The queue, in order: preempted requests stand at its head, the others by arrival. Like `running` and `finished`
        a read-only sequence; its slices are lists, and `sorted` and `list` make new ones.
    running
        Requests in a slot whose output goes on, in order of admission.
    finished
        Requests whose output has ended and that still sit in a slot. Unless the plan holds them, they leave it before
        any request is admitted: a slot freed in iteration i can be refilled in i + 1.
    free_slots, free_blocks
        What there is to admit into, the slots and blocks of `finished` counted in.
    block_size
        Positions in a KV block.
    total_blocks
        Blocks in the pool.
    context_limit
        The most positions that a request may have, for the model or the pool.
    clock
        Now, in the unit of `RequestView.arrival` (seconds, or iterations): `clock - arrival` is how long it has waited.
    last_admission
        Index of the last iteration that admitted a request, also if it is gone by now; None before the first.
    freed_together
        Where requests share KV blocks: how many come free once all of these ids have left. None where nothing is
        shared; `freed_by` serves both.
    """

    iteration: int
    now: float
    slots: int
    waiting: Sequence[RequestView]
    running: Sequence[RequestView]
    finished: Sequence[RequestView]
    free_slots: int
    free_blocks: int
    block_size: int
    total_blocks: int
    context_limit: int
    clock: float = 0.0
    last_admission: int | None = None
    freed_together: Callable[[Sequence[int]], int] | None = field(default=None, repr=False, compare=False)

    def freed_by(self, request: RequestView, gone: Sequence[RequestView] = ()) -> int:
        """Blocks that come free when a running request leaves besides those who are gone already.

        Two requests that share blocks only with each other free none of these one by one, and all of them together.
        """
        if self.freed_together is None:
            return request.frees
        before = [other.id for other in gone]
        return self.freed_together([*before, request.id]) - self.freed_together(before)

    def blocks_for(self, positions: int) -> int:
        """Blocks that hold this many positions."""
        return -(-positions // self.block_size)

    def blocks_lacking(self, request: RequestView, tokens: int) -> int:
        """Blocks that a request must get before it can take in this many tokens."""
        return max(0, -(-(request.computed + tokens) // self.block_size) - request.blocks)

    def blocks_taken(self, request: RequestView, positions: int) -> int:
        """Free blocks that a request takes if it is to have room for this many positions."""
        return max(0, self.blocks_for(positions) - request.blocks)

    def fitting(self) -> list[int]:
        """The front of the queue that fits now, each with room for all it can ever need; no request is overtaken."""
        slots, blocks = self.free_slots, self.free_blocks
        ids: list[int] = []
        if not slots:
            return ids
        for request in self.waiting:
            blocks -= self.blocks_taken(request, request.most)
            if len(ids) == slots or blocks < 0:
                break
            ids.append(request.id)
        return ids

    def closed(self, reason: str, admitted: Sequence[object] = ()) -> dict[int, str]:
        """For `Plan.put_off`: the queue is closed behind the first ones, those admitted, for this reason."""
        first = len(admitted)
        return {request.id: reason for request in self.waiting[first : first + 1]}

    def misfit(self, fitting: Sequence[int]) -> dict[int, str]:
        """For `Plan.put_off`: why `fitting()` ended where it did, if it was for lack of KV blocks."""
        n = len(fitting)
        if n == self.free_slots or n == len(self.waiting):
            return {}
        free = self.free_blocks - sum(self.blocks_taken(request, request.most) for request in self.waiting[:n])
        first = self.waiting[n]
        return {first.id: lacks_blocks(self.blocks_taken(first, first.most), free, "prompt + max_new_tokens")}


def lacks_blocks(needed: int, free: int, what: str, kept: int = 0) -> str:
    """The reason of a request for which there are too few KV blocks."""
    left = f"{max(0, free)} are free" + (f", of which {kept} stay free" if kept else "")
    return f"it needs {needed} KV blocks for its {what}, and {left}"


@dataclass(frozen=True, slots=True)
class Admit:
    """Let a waiting request into the lowest free slot.

    `request` is its id, and `reason` text that ends up in the trace. `reserve` is how many positions have KV blocks at
    once; None means all it can ever need (prompt + max_new_tokens), so that it can never run out. A smaller reserve (at
    least what is found in a cache and what it takes in this iteration) grows block by block.
    """

    request: int
    reserve: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one iteration does differently from "every running request goes on".

    Ids and numbers of tokens are whole numbers, numpy's and arrays without dimension too; lists may be any iterable,
    an array too. A reason is text; past 2,000 characters it is cut, and half a surrogate pair becomes U+FFFD. All of it
    is turned into plain Python before the engine sees it. Anything else is refused with a PolicyError that names the
    policy, the iteration, the field, what was given, and what is allowed; nothing has changed then.

    Attributes
    ----------
    admit
        Waiting requests to let in, in this order: ids or views, or `Admit` to say how much to reserve and why.
    hold
        Ids of finished requests that keep their slot and are computed although no token of theirs is wanted (static
        batching), or "all" of them.
    preempt
        Running request → reason. It loses its slot and blocks, goes to the head of the queue, and keeps its tokens. Its
        keys and values are thrown away, or swapped out to host memory where the engine swaps.
    pause
        Running request → reason. It keeps slot and blocks and gets no tokens in this iteration.
    chunk
        Request → how many of the tokens it lacks to take in now. By default all of them.
    wait_until
        Where no request computes under this plan: until when to wait, in the unit of `View.clock` and later than it.
        Time passes until then or until the next arrival, whichever is earlier, and the policy is asked again. Without
        it, a plan under which no request computes although requests wait and none is still to come is refused as stuck.
    put_off
        Waiting request → why it is not let in now, for `cbviz.why`; it changes nothing. A request that waits and is
        neither admitted nor named stays behind those that are named. Where no slot is left, none need be named.
    """

    admit: Iterable[int | RequestView | Admit] = ()
    hold: Iterable[int] | Literal["all"] = ()
    preempt: Mapping[int, str] = field(default_factory=dict)
    pause: Mapping[int, str] = field(default_factory=dict)
    chunk: Mapping[int, int] = field(default_factory=dict)
    wait_until: float | None = None
    put_off: Mapping[int, str] = field(default_factory=dict)


@runtime_checkable
class Policy(Protocol):
    """A scheduler: a name, one line that says what it does, and one method.

    `name` is text of 1 to 100 printable characters on one line, `summary` of at most 500.

    A policy may remember things in its own attributes. The object that a caller hands over is never asked itself: every
    run (a warm-up, a repeat, a lane, what `why` runs again, a playground that switches to it) starts from a deep copy
    of it as it was handed over, and the copy that ran is `policy_object` of a race's lane. So a policy that draws from
    a `random.Random(seed)` of its own makes the same schedule in every repeat. Attributes of the class, global
    variables, what functions close over, and the generators behind the modules `random` and `numpy.random` are not
    copied. A policy that cannot be copied, because it holds a lock, a generator or an open file, is refused.

    An `Engine` that is made by hand asks the object that it is given.
    """

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    def plan(self, view: View) -> Plan:
        """Say what the next iteration does. Called once before every iteration.

        Whatever it raises, `SystemExit` too, becomes a PolicyError; only KeyboardInterrupt interrupts the run.
        """
        ...
