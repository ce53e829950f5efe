"""Who sits down and who gets up, and what becomes of their KV blocks: reserved, shared, let go, swapped."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from cbviz.engine.executor import Copies, Seat
from cbviz.engine.live import Live
from cbviz.engine.outputs import Outputs
from cbviz.engine.prefix_reuse import PrefixReuse
from cbviz.engine.reckoning import held
from cbviz.engine.slots import Slots
from cbviz.engine.swap import SwapSpace
from cbviz.policies.base import Admit
from cbviz.policies.plain import CheckedPlan
from cbviz.trace.events import Mark, Reuse


class Seating:
    """Moves requests between the queue and the slots.

    Parameters
    ----------
    slots, outputs
        The engine's.
    reuse
        What looks requests up in the prefix cache; None without one.
    swap
        Host memory for the preempted; None where they are recomputed.

    Attributes
    ----------
    waiting
        The queue: the preempted at its head, the others in order of arrival.
    """

    def __init__(self, slots: Slots, outputs: Outputs, reuse: PrefixReuse | None, swap: SwapSpace | None) -> None:
        self.waiting: deque[Live] = deque()
        self._slots = slots
        self._outputs = outputs
        self._reuse = reuse
        self._swap = swap
        self._admissions = 0

    def found(self, live: Live) -> list[int]:
        """The blocks that the prefix cache has for a waiting request. The swapped bring their own."""
        return self._reuse.found(live) if self._reuse is not None and not live.swapped else []

    def release(self, plan: CheckedPlan) -> None:
        """Let go of finished requests that the plan does not hold."""
        if self._slots.ended.any():
            for slot in (self._slots.ended & ~held(self._slots, plan)).nonzero()[0]:
                self._slots.leave(int(slot))

    def preempt(self, live: Live, reason: str) -> Mark:
        """Throw a running request out to the head of the queue, its blocks to host memory or away."""
        slots, request = self._slots, live.request.id
        slot = slots.slot_of(request)
        computed = int(slots.computed[slot])
        if self._swap is not None:
            written = slots.tables[slot, : slots.pool.blocks_for(computed)].tolist()
            if self._swap.put(request, written):
                live.swapped = computed
                reason = told(reason, f"its {len(written)} KV blocks wait in host memory")
            elif written:
                reason = told(reason, f"host memory has no room for its {len(written)} KV blocks")
        live.seen = max(live.seen, computed)
        live.preemptions += 1
        slots.leave(slot)
        self.waiting.appendleft(live)
        return Mark(request, slot, reason)

    def share(self, newcomers: Sequence[Live]) -> tuple[list[list[int]], tuple[Reuse, ...]]:
        """Let newcomers have what the prefix cache holds of them: before anybody takes a new block, which could be it.

        Returns the blocks of each newcomer, and what is told of it.
        """
        if self._reuse is None:
            return [[] for _ in newcomers], ()
        found = [self.found(live) for live in newcomers]
        for live, blocks in zip(newcomers, found, strict=True):
            self._slots.pool.share(live.request.id, blocks)
        looked_up = (pair for pair in zip(newcomers, found, strict=True) if not pair[0].swapped)
        return found, tuple(self._reuse.reuse(live, len(blocks)) for live, blocks in looked_up)

    def admit(self, live: Live, entry: Admit, found: list[int], iteration: int) -> tuple[Seat, Mark]:
        """Seat a waiting request in the lowest free slot, behind what a cache holds of it."""
        slots, request, reason = self._slots, live.request, entry.reason
        slot = slots.lowest_free()
        output = self._outputs.of(live.row)
        tokens = np.concatenate([np.array(request.prompt, np.int32), output])
        slots.request[slot] = request.id
        slots.prompt[slot] = len(request.prompt)
        slots.known[slot] = len(tokens)
        slots.seen[slot] = live.seen
        slots.generated[slot] = len(output)
        slots.limit[slot] = self._outputs.limit[live.row]
        slots.order[slot] = self._admissions
        slots.row[slot] = live.row
        self._admissions += 1
        if found:
            slots.share(slot, found)
            reason = told(reason, f"{slots.computed[slot]} of its {len(tokens)} tokens were cached")
        slots.grow(slot, reserve(live, entry))
        if live.swapped and self._swap is not None:
            blocks = self._swap.blocks_of(request.id)
            self._swap.bring_back(request.id, slots.tables[slot, :blocks].tolist())
            slots.computed[slot], live.swapped = live.swapped, 0
            reason = told(reason, f"its {blocks} KV blocks came back from host memory")
        self.waiting.remove(live)
        live.admitted = iteration
        stops = request.stop_tokens if request.output_length is None else None
        return Seat(slot, tokens, request.sampling, stops), Mark(request.id, slot, reason)

    def leave_queue(self, live: Live) -> None:
        """A waiting request is over, or cancelled."""
        self.waiting.remove(live)
        if live.swapped and self._swap is not None:
            self._swap.drop(live.request.id)
            live.swapped = 0

    def copies(self) -> tuple[Copies, Copies]:
        """What the next step copies to host memory, and back."""
        return self._swap.copies() if self._swap is not None else ((), ())

    def forget_copies(self) -> None:
        """Nobody knows what the device has written: neither cached nor swapped blocks can be trusted any more."""
        if self._reuse is not None:
            self._reuse.forget()
        if self._swap is not None:
            self._swap.drop_all()
            for live in self.waiting:
                live.swapped = 0


def reserve(live: Live, entry: Admit) -> int:
    """Positions that an admission gives blocks for."""
    return len(live.request.prompt) + live.request.max_new_tokens if entry.reserve is None else entry.reserve


def told(reason: str, fact: str) -> str:
    """A policy's reason, and what the engine adds to it."""
    return f"{reason}; {fact}" if reason else fact
