"""What a policy sees before an iteration: the requests, the slots and the KV blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cbviz.reason import Reason


class RequestView(NamedTuple):
    """One request as a scheduler sees it.

    A named tuple, because hundreds are made before every iteration, and it is built five times as fast as a dataclass.

    Attributes
    ----------
    id, arrival, prompt_tokens, max_new_tokens
        What the request declared. `arrival` is in the workload's unit.
    client, priority
        Also declared: the tenant that it belongs to, None if there is only one, and its priority, of which a lower one
        goes first. Most built-in policies ignore both; one that is fair to clients needs them.
    generated
        Output tokens so far.
    computed
        Positions with keys and values in the cache. While the request waits: those that an admission would find in the
        prefix cache or in host memory; 0 without either, also after a preemption.
    slot
        Its slot, None while it waits.
    admitted
        Index of the iteration that (last) admitted it, None before its first admission.
    preemptions
        How often it lost its slot.
    blocks
        KV blocks that it holds. While it waits: blocks that it would share with a running request, which an admission
        need not take from the free ones.
    shared
        Blocks among these that another request uses too; they stay in use when this request leaves.
    swapped
        While it waits: KV blocks that it holds in host memory.

    Examples
    --------
    A prompt of 10 tokens of which 4 are computed, then a decode:

    >>> from cbviz import RequestView
    >>> prefill = RequestView(id=0, arrival=0.0, prompt_tokens=10, max_new_tokens=8, computed=4)
    >>> prefill.known, prefill.lacks, prefill.most
    (10, 6, 18)
    >>> prefill._replace(generated=3, computed=12).lacks
    1
    """

    id: int
    arrival: float
    prompt_tokens: int
    max_new_tokens: int
    client: str | None = None
    priority: int = 0
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
        """Tokens known so far: the prompt and the output."""
        return self.prompt_tokens + self.generated

    @property
    def lacks(self) -> int:
        """Tokens that it must take in before its next output token: 1 in decode, more in prefill."""
        return self.prompt_tokens + self.generated - self.computed

    @property
    def most(self) -> int:
        """The most positions that it can ever need: prompt + max_new_tokens (what Orca reserves)."""
        return self.prompt_tokens + self.max_new_tokens

    @property
    def frees(self) -> int:
        """Blocks that become free if it alone leaves (see `View.freed_by`)."""
        return self.blocks - self.shared


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a policy may know before an iteration.

    A view is a value: it cannot be changed, and one that a policy keeps still describes the iteration for which it was
    made. Nothing in it leads to the engine or to the forced length of an output.

    Attributes
    ----------
    iteration
        Index of the iteration to be planned.
    now
        Seconds on the lane's clock.
    slots
        Number of slots.
    waiting
        The queue: preempted requests first, then the others by arrival. Like `running` and `finished` it is a read-only
        sequence; its slices are lists, and `sorted` and `list` make new ones.
    running
        Requests in a slot whose output has not ended, in order of admission.
    finished
        Requests in a slot whose output has ended. Unless the plan holds them, they leave before any request is
        admitted: a slot freed in iteration i can be refilled in i + 1.
    free_slots, free_blocks
        Slots and blocks available to admissions, including those of `finished`.
    block_size
        Positions in a KV block.
    total_blocks
        Blocks in the pool.
    context_limit
        The most positions that a request may have, set by the model or the pool.
    clock
        Now, in the unit of `RequestView.arrival` (seconds, or iterations): `clock - arrival` is how long a request has
        waited.
    last_admission
        Index of the last iteration that admitted a request, which may have left since; None before the first.
    freed_together
        If requests share KV blocks: the number of blocks that become free once all of the given ids have left. None if
        nothing is shared; `freed_by` handles both.

    Examples
    --------
    Three requests wait for two slots and a pool of 6 blocks of 4 positions:

    >>> from cbviz import RequestView, View
    >>> waiting = [RequestView(id=i, arrival=0.0, prompt_tokens=5, max_new_tokens=6) for i in range(3)]
    >>> view = View(iteration=0, now=0.0, slots=2, waiting=waiting, running=[], finished=[], free_slots=2,
    ...             free_blocks=6, block_size=4, total_blocks=6, context_limit=24)
    >>> view.blocks_for(11)
    3
    >>> view.fitting()
    [0, 1]
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
        """Blocks that become free when a request leaves after those in `gone`.

        Two requests that share blocks only with each other free them only when both have left.

        Parameters
        ----------
        request
            A running request.
        gone
            Requests that have left before it.

        Returns
        -------
        int
            The number of blocks.
        """
        if self.freed_together is None:
            return request.frees
        before = [other.id for other in gone]
        return self.freed_together([*before, request.id]) - self.freed_together(before)

    def blocks_for(self, positions: int) -> int:
        """Blocks that hold this many positions: ⌈positions / block_size⌉.

        Parameters
        ----------
        positions
            Positions, at least 0.

        Returns
        -------
        int
            The number of blocks.
        """
        return -(-positions // self.block_size)

    def blocks_lacking(self, request: RequestView, tokens: int) -> int:
        """Further blocks that a request needs to take in this many tokens.

        Parameters
        ----------
        request
            A waiting or running request.
        tokens
            Tokens that it takes in next, on top of those computed.

        Returns
        -------
        int
            The number of blocks, 0 if its own suffice.
        """
        return max(0, -(-(request.computed + tokens) // self.block_size) - request.blocks)

    def blocks_taken(self, request: RequestView, positions: int) -> int:
        """Free blocks that a request takes to have room for this many positions.

        Parameters
        ----------
        request
            A waiting or running request.
        positions
            Positions in all, those computed included.

        Returns
        -------
        int
            The number of blocks, 0 if its own suffice.
        """
        return max(0, self.blocks_for(positions) - request.blocks)

    def fitting(self) -> list[int]:
        """Ids from the front of the queue that fit now, each with room for all that it can ever need.

        It stops at the first request that does not fit, so that no request is overtaken.

        Returns
        -------
        list[int]
            Ids in the order of the queue, for `Plan.admit`.
        """
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
        """Put off the first request behind the admitted front of the queue.

        Parameters
        ----------
        reason
            Why it is not admitted.
        admitted
            The admitted requests, which are the front of the queue.

        Returns
        -------
        dict[int, str]
            For `Plan.put_off`; empty if no other request waits.
        """
        first = len(admitted)
        return {request.id: reason for request in self.waiting[first : first + 1]}

    def misfit(self, fitting: Sequence[int]) -> dict[int, str]:
        """Put off the request at which `fitting()` stopped for lack of KV blocks.

        Parameters
        ----------
        fitting
            What `fitting()` returned.

        Returns
        -------
        dict[int, str]
            For `Plan.put_off`; empty if it stopped for another reason.
        """
        n = len(fitting)
        if n == self.free_slots or n == len(self.waiting):
            return {}
        free = self.free_blocks - sum(self.blocks_taken(request, request.most) for request in self.waiting[:n])
        first = self.waiting[n]
        return {first.id: Reason("lacks_blocks", needed=self.blocks_taken(first, first.most), free=max(0, free))}


def lacks_blocks(needed: int, free: int, tokens: int, kept: int = 0) -> Reason:
    """The reason to put off a request that lacks KV blocks for its tokens; `kept` blocks must stay free."""
    if kept:
        return Reason("lacks_blocks_kept", needed=needed, free=max(0, free), tokens=tokens, kept=kept)
    return Reason("lacks_blocks_tokens", needed=needed, free=max(0, free), tokens=tokens)
