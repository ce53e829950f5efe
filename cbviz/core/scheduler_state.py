"""What a plan means: which request is in which slot, how many tokens each takes in, and when an output ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Seat
from cbviz.core.prefix_reuse import PrefixReuse
from cbviz.core.request_state import RequestState
from cbviz.core.slots import Outputs, Slots
from cbviz.core.swap import SwapSpace
from cbviz.events import BoolArray, Finish, FinishReason, IntArray, Mark, Reuse
from cbviz.policies.plan import Admit, CheckedPlan
from cbviz.reason import joined
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
    """All requests of an engine, and their moves between the queue and the slots."""

    def __init__(self, slots: int, pool: BlockPool, context_limit: int, swap: SwapSpace | None) -> None:
        self.requests: dict[int, RequestState] = {}
        """Request id → its state, of all that have taken effect."""
        self.waiting: deque[RequestState] = deque()
        """The queue: preempted requests at its head, the others in order of arrival."""
        self.outputs = Outputs()
        self.slots = Slots(slots, pool, context_limit)
        self.reuse = PrefixReuse(pool, pool.prefix, self.outputs) if pool.prefix is not None else None
        """Lets requests with the same beginning share blocks; None without a prefix cache."""
        self.swap = swap
        """Host memory for preempted requests; None where they are recomputed."""
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

    def counts(self, plan: CheckedPlan) -> IntArray:
        """int32 [slots]: tokens that each slot takes in under this plan, of the requests that are in slots now."""
        slots, wasted = self.slots, self.held(plan)
        if self.reuse is not None:  # a held row must not write into a block that others may find
            self.reuse.spare(wasted, slots, self.writes_at())
        count: IntArray = np.where(slots.ended, wasted, slots.known - slots.computed)
        named = {**plan.chunk, **dict.fromkeys((*plan.preempt, *plan.pause), 0)}
        if named:
            slot_of = {int(request): slot for slot, request in enumerate(slots.request)}
            for request, tokens in named.items():
                if request in slot_of:
                    count[slot_of[request]] = tokens
        return count

    def writes_at(self) -> IntArray:
        """int32 [slots]: the position that each slot computes next.

        A held row continues to the end of its own blocks, for it never takes one that another request could use, or to
        the end of the context, and is computed in place there.
        """
        slots = self.slots
        room = np.minimum(slots.capacity, self._context_limit)
        return np.where(slots.ended, np.minimum(slots.computed, room - 1), slots.computed)

    # ------------------------------------------------------------------ the moves

    def apply(self, plan: CheckedPlan, iteration: int) -> Moves:
        """Release, preempt, admit and pause as a checked plan says."""
        requests = self.requests
        self.release(plan)
        preempted = [self._preempt(requests[request], reason) for request, reason in plan.preempt.items()]
        admitted = [requests[entry.request] for entry in plan.admit]
        found, reused = self.reuse.share(admitted) if self.reuse is not None else ([[]] * len(admitted), ())
        entered = [self._admit(*one, iteration) for one in zip(admitted, plan.admit, found, strict=True)]
        stalled = [Mark(request, self.slots.slot_of(request), reason) for request, reason in plan.pause.items()]
        return Moves([seat for seat, _ in entered], [mark for _, mark in entered], preempted, stalled, reused)

    def release(self, plan: CheckedPlan) -> None:
        """Empty the slots of finished requests that the plan does not hold."""
        if self.slots.ended.any():
            for slot in (self.slots.ended & ~self.held(plan)).nonzero()[0]:
                self.slots.leave(int(slot))

    def _preempt(self, live: RequestState, reason: str) -> Mark:
        """Move a running request to the head of the queue; its blocks go to host memory or are discarded."""
        slots, slot = self.slots, self.slots.slot_of(live.request.id)
        if self.swap is not None:
            reason = joined(reason, self.swap.take_out(live, slots, slot))
        live.seen = max(live.seen, int(slots.computed[slot]))
        live.preemptions += 1
        slots.leave(slot)
        self.waiting.appendleft(live)
        return Mark(live.request.id, slot, reason)

    def _admit(self, live: RequestState, entry: Admit, found: list[int], iteration: int) -> tuple[Seat, Mark]:
        """Put a waiting request into the lowest free slot, behind the blocks that a prefix cache has of it."""
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
        if found and self.reuse is not None:
            reason = joined(reason, self.reuse.begin_with(found, slots, slot))
        slots.grow(slot, live.positions if entry.reserve is None else entry.reserve)
        if live.swapped and self.swap is not None:
            reason = joined(reason, self.swap.bring_back(live, slots, slot))
        self.waiting.remove(live)
        live.admitted = iteration
        stops = request.stop_tokens if request.output_length is None else None
        return Seat(slot, tokens, request.sampling, stops), Mark(request.id, slot, reason)

    # ------------------------------------------------------------------ tokens

    def give(self, row: IntArray, slot: IntArray, request: IntArray, tokens: IntArray, ends: IntArray) -> list[Finish]:
        """Append its token to the output of each request (int32 arrays of one length); return the outputs that ended.

        Beside the request comes its row in `Outputs` and the slot in which it drew. `ends` are the model's END tokens.
        """
        outputs = self.outputs
        outputs.append(row, tokens)
        free = ~outputs.forced[row]  # where END and stop tokens are what they are
        by_end = free & np.isin(tokens, ends) if free.any() else free
        by_stop = free & outputs.stops[row]
        for i in by_stop.nonzero()[0]:
            by_stop[i] = int(tokens[i]) in self.requests[int(request[i])].request.stop_tokens
        by_length = outputs.count[row] >= outputs.limit[row]
        finished = []
        for i in (by_end | by_stop | by_length).nonzero()[0]:
            reason = FinishReason.END if by_end[i] else FinishReason.STOP if by_stop[i] else FinishReason.LENGTH
            finished.append(Finish(int(request[i]), int(slot[i]), reason))
            self._finish(finished[-1])
        return finished

    def _finish(self, end: Finish) -> None:
        live = self.requests[end.request]
        live.reason = end.reason
        self.outputs.closed[live.row] = True
        if self.slots.request[end.slot] == end.request:
            self.slots.ended[end.slot] = True
            self.slots.generated[end.slot] = self.outputs.count[live.row]
        elif live in self.waiting:  # preempted after this iteration was launched, and ended all the same
            self.leave_queue(live)

    def leave_queue(self, live: RequestState) -> None:
        """A waiting request has ended, or was cancelled."""
        self.waiting.remove(live)
        if self.swap is not None:
            self.swap.drop(live)
