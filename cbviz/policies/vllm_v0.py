"""vLLM's first scheduler: prefills go first, blocks are taken as requests grow, the newest pays when they run out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import not_negative, whole_or_none, within


@dataclass(frozen=True, slots=True)
class VllmV0:
    """Prefill whoever fits, alone; decode everybody else only when nobody can be prefilled.

    vLLM before chunked prefill (PagedAttention, SOSP'23, §4.5; `core/scheduler.py` of 2023, versions 0.1 to 0.2). While
    the front of the queue fits, an iteration is prefill only and every running request stalls. It fits if a slot is
    free, if the prefill keeps within max_num_batched_tokens, and if the blocks for its tokens leave the watermark free.
    Otherwise everybody decodes, oldest first; a request that needs a block when none is free preempts the newest, in
    the end itself. The preempted loses all its blocks, goes to the head of the queue, and is recomputed from its tokens
    in one prefill; or, where the engine swaps, it waits in host memory. While anybody is swapped out nobody is
    prefilled. Whoever is swapped out goes on in the first iteration that preempts nobody and has blocks for its tokens,
    one to grow, and the watermark; the first in the queue first.

    Two things differ from the source. There a decode demands a free block even where it needs none; here it preempts
    only for a block that it needs. And the watermark does not count while nothing runs, so that a request as large as
    the pool is served; vLLM drops it.

    Parameters
    ----------
    watermark
        Part of the pool that an admission leaves free, so that a newcomer is not thrown out at once. 0.01.
    max_num_batched_tokens
        The most tokens in one prefill. A prompt is never cut, so vLLM demands at least the longest context, and takes
        the larger of that and 2,048 by default (None).

    Raises
    ------
    PolicyError
        A parameter that makes no sense; while planning, a request at the queue's front whose prompt + max_new_tokens
        exceed max_num_batched_tokens: after a preemption it might never be prefilled again.
    """

    watermark: float = 0.01
    max_num_batched_tokens: int | None = None
    name: str = "vllm_v0"
    summary: str = "prefill first, decodes wait; preempt the newest when blocks run out"

    def __post_init__(self) -> None:
        not_negative(self.name, "watermark", self.watermark, below=1)
        whole_or_none(self.name, "max_num_batched_tokens", self.max_num_batched_tokens)

    def plan(self, view: View) -> Plan:
        # The preempted stand at the head of the queue.
        swapped = [request for request in takewhile(lambda r: r.preemptions, view.waiting) if request.swapped]
        newcomers, put_off = self._prefills(view) if not swapped else ([], {})
        if newcomers:
            pause = {request.id: "prefill goes first" for request in view.running}
            return Plan(admit=newcomers, pause=pause, put_off=put_off)
        preempt, free = self._preemptions(view)
        if not swapped:
            return Plan(preempt=preempt, put_off=put_off)
        if preempt:
            return Plan(preempt=preempt, put_off=view.closed("somebody was preempted, and nobody enters then"))
        back, put_off = self._swapped_in(view, swapped, free)
        return Plan(admit=back, put_off=put_off)

    def _prefills(self, view: View) -> tuple[list[Admit], dict[int, str]]:
        """The front of the queue that fits now, and why it ends where it does."""
        budget = self.max_num_batched_tokens or max(view.context_limit, 2048)
        kept_free = int(self.watermark * view.total_blocks)
        tokens, blocks = budget, view.free_blocks
        newcomers: list[Admit] = []
        for request in view.waiting:
            if len(newcomers) == view.free_slots:
                break
            within(request, request.most, "prompt + max_new_tokens", "max_num_batched_tokens", budget)
            if request.lacks > tokens:
                reason = f"its {request.lacks} tokens exceed the {tokens} that are left of the {budget} of one prefill"
                return newcomers, {request.id: reason}
            needed = view.blocks_taken(request, request.known)
            kept = kept_free if view.running or newcomers else 0
            if needed + kept > blocks:
                return newcomers, {request.id: lacks_blocks(needed, blocks, f"{request.known} tokens", kept)}
            tokens, blocks = tokens - request.lacks, blocks - needed
            newcomers.append(Admit(request.id, reserve=request.known))
        return newcomers, {}

    def _swapped_in(self, view: View, swapped: list[RequestView], free: int) -> tuple[list[Admit], dict[int, str]]:
        """Those who come back from host memory beside the decodes, and why the others do not."""
        back: list[Admit] = []
        kept_free = int(self.watermark * view.total_blocks)
        for request in swapped:
            if len(back) == view.free_slots:
                break
            needed = view.blocks_for(request.known)
            kept = kept_free + 1 if view.running or back else 0
            if needed + kept > free:
                return back, {request.id: lacks_blocks(needed, free, f"{request.known} tokens", kept)}
            free -= needed
            back.append(Admit(request.id, reserve=request.known))
        reason = "somebody is swapped out, and nobody else enters before they are back"
        first = next((request for request in view.waiting if not request.swapped), None)
        return back, {first.id: reason} if first else {}

    def _preemptions(self, view: View) -> tuple[dict[int, str], int]:
        """Whom a decode of everybody throws out, and the blocks that are free then.

        The oldest are first in line for blocks, the newest first to lose them.
        """
        running, free = deque(view.running), view.free_blocks
        preempted: dict[int, str] = {}
        gone: list[RequestView] = []
        while running:
            oldest = running.popleft()
            needed = view.blocks_lacking(oldest, oldest.lacks)
            while needed > free and running:
                newest = running.pop()
                free += view.freed_by(newest, gone)
                gone.append(newest)
                preempted[newest.id] = f"request {oldest.id} needs its blocks"
            if needed > free:
                free += view.freed_by(oldest, gone)
                gone.append(oldest)
                preempted[oldest.id] = "no block is free"
            else:
                free -= needed
        return preempted, free
