"""Applying a plan: which request is in which slot, how many tokens each takes in, and what becomes of its KV blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Copies, Seat
from cbviz.core.prefix_reuse import PrefixReuse
from cbviz.core.request_state import RequestState
from cbviz.core.slots import Outputs, Slots
from cbviz.core.swap import SwapSpace
from cbviz.events import BoolArray, Finish, IntArray, Mark, Reuse
from cbviz.messages import DEEPEST, LONGEST_FACT, Message, depth
from cbviz.policies.plan import Admit, CheckedPlan
from cbviz.reason import Reason
from cbviz.workload.request import Request


@dataclass(slots=True)
class Moves:
    """What applying a plan changed: the admitted requests as the executor needs them, and marks for the iteration."""

    seats: list[Seat]
    admitted: list[Mark]
    preempted: list[Mark]
    stalled: list[Mark]
    reused: tuple[Reuse, ...]


class SchedulerState:
    """All requests of an engine, and their moves between the queue and the slots.

    Parameters
    ----------
    slots, pool, context_limit
        The engine's. With a prefix cache in the pool, requests with the same beginning share blocks.
    swap
        Host memory for preempted requests; None where they are recomputed.

    Attributes
    ----------
    requests
        Request id → its state, of all that have taken effect.
    waiting
        The queue: preempted requests at its head, the others in order of arrival.
    slots, outputs
        The tables, with one entry a slot and one row a request.
    reuse
        Looks requests up in the prefix cache; None without one.
    """

    def __init__(self, slots: int, pool: BlockPool, context_limit: int, swap: SwapSpace | None) -> None:
        self.requests: dict[int, RequestState] = {}
        self.waiting: deque[RequestState] = deque()
        self.outputs = Outputs()
        self.slots = Slots(slots, pool, context_limit)
        self.reuse = PrefixReuse(pool, pool.prefix, self.outputs) if pool.prefix is not None else None
        self.swap = swap
        self._context_limit = context_limit
        self._admissions = 0

    @property
    def busy(self) -> bool:
        """Whether a request waits or is in a slot."""
        return bool(self.waiting) or bool(self.slots.taken.any())

    def add(self, request: Request) -> RequestState:
        """Begin to keep a request; it is in no queue yet."""
        live = self.requests[request.id] = RequestState(request, self.outputs.add(request))
        return live

    # ------------------------------------------------------------------ what a plan means

    def held(self, plan: CheckedPlan) -> BoolArray:
        """bool [slots]: finished requests that the plan keeps in their slots."""
        ended = self.slots.ended
        if plan.hold_all or not plan.hold:
            return ended & plan.hold_all
        return ended & np.isin(self.slots.request, list(plan.hold))

    def writes_at(self) -> IntArray:
        """int32 [slots]: the position that each slot computes next.

        A held row continues to the end of its own blocks, for it never takes one that another request could use, or to
        the end of the context, and is computed in place there.
        """
        slots = self.slots
        room = np.minimum(slots.capacity, self._context_limit)
        return np.where(slots.ended, np.minimum(slots.computed, room - 1), slots.computed)

    def counts(self, plan: CheckedPlan) -> IntArray:
        """int32 [slots]: tokens that each slot takes in under this plan, of the requests that are in slots now."""
        slots, wasted = self.slots, self.held(plan)
        if self.reuse is not None:  # a held row must not write into a block that others may find
            at = self.writes_at() // slots.pool.block_size
            for slot in np.flatnonzero(wasted):
                wasted[slot] = not self.reuse.holds(int(slots.tables[slot, at[slot]]))
        count: IntArray = np.where(slots.ended, wasted, slots.known - slots.computed)
        named = {**plan.chunk, **dict.fromkeys((*plan.preempt, *plan.pause), 0)}
        if named:
            slot_of = {int(request): slot for slot, request in enumerate(slots.request)}
            for request, tokens in named.items():
                if request in slot_of:
                    count[slot_of[request]] = tokens
        return count

    def shortage(self, plan: CheckedPlan, count: IntArray) -> tuple[int, int] | None:
        """(blocks needed, blocks free) if the requests outgrow the pool under this plan, else None.

        Held requests never grow. Without a prefix cache the plan was checked for the requests that it admits, and they
        only matter where others grow as well.
        """
        slots, pool = self.slots, self.slots.pool
        lacking = slots.computed + count - slots.capacity
        lacking[slots.ended] = 0
        needed = int((-(-np.maximum(lacking, 0) // pool.block_size)).sum()) if (lacking > 0).any() else 0
        if not needed and (pool.prefix is None or not plan.admit):
            return None
        let_go = slots.request[slots.ended & ~self.held(plan)].tolist()
        freed = pool.freed_by([*let_go, *plan.preempt])
        free = pool.free + len(freed)
        kept: set[int] = set()
        for entry in plan.admit:
            live = self.requests[entry.request]
            found = self.found(live)
            needed += pool.blocks_for(reserve(live, entry)) - len(found)
            kept |= {block for block in found if not pool.users(block) or block in freed}
        free -= len(kept)
        return (needed, free) if needed > free else None

    def found(self, live: RequestState) -> list[int]:
        """The blocks that the prefix cache has for a waiting request. A swapped one brings its own."""
        return self.reuse.found(live) if self.reuse is not None and not live.swapped else []

    # ------------------------------------------------------------------ the moves

    def apply(self, plan: CheckedPlan, iteration: int) -> Moves:
        """Release, preempt, admit and pause as a checked plan says."""
        requests = self.requests
        self.release(plan)
        preempted = [self.preempt(requests[request], reason) for request, reason in plan.preempt.items()]
        admitted = [requests[entry.request] for entry in plan.admit]
        found, reused = self.share(admitted)
        entered = [self.admit(*one, iteration) for one in zip(admitted, plan.admit, found, strict=True)]
        stalled = [Mark(request, self.slots.slot_of(request), reason) for request, reason in plan.pause.items()]
        return Moves([seat for seat, _ in entered], [mark for _, mark in entered], preempted, stalled, reused)

    def release(self, plan: CheckedPlan) -> None:
        """Empty the slots of finished requests that the plan does not hold."""
        if self.slots.ended.any():
            for slot in (self.slots.ended & ~self.held(plan)).nonzero()[0]:
                self.slots.leave(int(slot))

    def preempt(self, live: RequestState, reason: str) -> Mark:
        """Move a running request to the head of the queue; its blocks go to host memory or are discarded."""
        slots, request = self.slots, live.request.id
        slot = slots.slot_of(request)
        computed = int(slots.computed[slot])
        if self.swap is not None:
            written = slots.tables[slot, : slots.pool.blocks_for(computed)].tolist()
            if self.swap.put(request, written):
                live.swapped = computed
                reason = joined(reason, Reason("swapped_out", blocks=len(written)))
            elif written:
                reason = joined(reason, Reason("no_host_memory", blocks=len(written)))
        live.seen = max(live.seen, computed)
        live.preemptions += 1
        slots.leave(slot)
        self.waiting.appendleft(live)
        return Mark(request, slot, reason)

    def share(self, admitted: Sequence[RequestState]) -> tuple[list[list[int]], tuple[Reuse, ...]]:
        """Give admitted requests what the prefix cache holds of them, before a new block is taken that could be it.

        Returns the blocks of each, and what the iteration reports of it.
        """
        if self.reuse is None:
            return [[] for _ in admitted], ()
        found = [self.found(live) for live in admitted]
        for live, blocks in zip(admitted, found, strict=True):
            self.slots.pool.share(live.request.id, blocks)
        looked_up = (pair for pair in zip(admitted, found, strict=True) if not pair[0].swapped)
        return found, tuple(self.reuse.reuse(live, len(blocks)) for live, blocks in looked_up)

    def admit(self, live: RequestState, entry: Admit, found: list[int], iteration: int) -> tuple[Seat, Mark]:
        """Put a waiting request into the lowest free slot, behind what a cache holds of it."""
        slots, request, reason = self.slots, live.request, entry.reason
        slot = slots.lowest_free()
        output = self.outputs.of(live.row)
        tokens = np.concatenate([np.array(request.prompt, np.int32), output])
        slots.request[slot] = request.id
        slots.prompt[slot] = len(request.prompt)
        slots.known[slot] = len(tokens)
        slots.seen[slot] = live.seen
        slots.generated[slot] = len(output)
        slots.limit[slot] = self.outputs.limit[live.row]
        slots.order[slot] = self._admissions
        slots.row[slot] = live.row
        self._admissions += 1
        if found:
            slots.share(slot, found)
            reason = joined(reason, Reason("cached", found=int(slots.computed[slot]), tokens=len(tokens)))
        slots.grow(slot, reserve(live, entry))
        if live.swapped and self.swap is not None:
            blocks = self.swap.blocks_of(request.id)
            self.swap.bring_back(request.id, slots.tables[slot, :blocks].tolist())
            slots.computed[slot], live.swapped = live.swapped, 0
            reason = joined(reason, Reason("swapped_in", blocks=blocks))
        self.waiting.remove(live)
        live.admitted = iteration
        stops = request.stop_tokens if request.output_length is None else None
        return Seat(slot, tokens, request.sampling, stops), Mark(request.id, slot, reason)

    def leave_queue(self, live: RequestState) -> None:
        """A waiting request has ended, or was cancelled."""
        self.waiting.remove(live)
        if live.swapped and self.swap is not None:
            self.swap.drop(live.request.id)
            live.swapped = 0

    def finish(self, end: Finish) -> None:
        """A request's output has ended; its slot is empty once a plan releases it."""
        live = self.requests[end.request]
        live.reason = end.reason
        self.outputs.closed[live.row] = True
        if self.slots.request[end.slot] == end.request:
            self.slots.ended[end.slot] = True
            self.slots.generated[end.slot] = self.outputs.count[live.row]
        elif live in self.waiting:  # preempted after this iteration was launched, and ended all the same
            self.leave_queue(live)

    def copies(self) -> tuple[Copies, Copies]:
        """What the next step copies to host memory, and back."""
        return self.swap.copies() if self.swap is not None else ((), ())

    def forget_copies(self) -> None:
        """The device's writes are unknown: neither cached nor swapped blocks can be trusted any more."""
        if self.reuse is not None:
            self.reuse.forget()
        if self.swap is not None:
            self.swap.drop_all()
            for live in self.waiting:
                live.swapped = 0


def reserve(live: RequestState, entry: Admit) -> int:
    """Positions that an admission gives blocks for."""
    return live.positions if entry.reserve is None else entry.reserve


def joined(reason: str, fact: Reason) -> Reason:
    """A policy's reason, and what the engine adds to it."""
    if not reason:
        return fact
    if isinstance(reason, Message) and depth(reason) >= DEEPEST - 1:  # no message may be within so many others
        reason = str(reason)[:LONGEST_FACT]
    return Reason("then", first=reason, second=fact)
