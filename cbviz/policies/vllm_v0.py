"""vLLM's first scheduler: prefills first, blocks taken as requests grow, and the newest pays when none is left."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import not_negative, whole_or_none, within
from cbviz.reason import Reason

NO_BLOCK, PREEMPTING = Reason("no_block_free"), Reason("preempting")
PREFILL_FIRST, SWAPPED_FIRST = Reason("prefill_first"), Reason("swapped_first")


@dataclass(frozen=True, slots=True)
class VllmV0:
    """Prefill new requests in iterations of their own; decode the others only when no request can be prefilled.

    vLLM before chunked prefill (PagedAttention, SOSP'23, §4.5; `core/scheduler.py` of 2023, versions 0.1 to 0.2). While
    the front of the queue fits, an iteration is prefill only and every running request stalls. It fits if a slot is
    free, if the prefill stays within max_num_batched_tokens, and if the blocks for its tokens leave the watermark free.
    Otherwise every running request decodes, oldest first; one that needs a block when none is free preempts the newest,
    or itself if no other is left. A preempted request loses all its blocks, goes to the head of the queue, and is
    recomputed from its tokens in one prefill; or, if the engine swaps, it waits in host memory. While a request is
    swapped out, none is prefilled. It is swapped in, in order of the queue, in the first iteration that preempts no
    request and has blocks for its tokens, one to grow, and the watermark.

    Two things differ from the source. There a decode demands a free block even if it needs none; here it preempts only
    for a block that it needs. And the watermark does not apply while nothing runs, so that a request as large as the
    pool is served; vLLM drops it.

    Parameters
    ----------
    watermark
        Share of the pool that an admission leaves free, so that a new request is not preempted at once. 0.01.
    max_num_batched_tokens
        The most tokens in one prefill. A prompt is never cut, so vLLM demands at least the longest context; None, the
        default, is the larger of that and 2,048.

    Raises
    ------
    PolicyError
        A parameter is out of range; or, while planning, prompt + max_new_tokens of the request at the front of the
        queue exceed max_num_batched_tokens: after a preemption it might never be prefilled again.

    Examples
    --------
    The prefill of request 1, which arrives before iteration 2, stalls request 0:

    >>> import cbviz
    >>> from cbviz.policies import VllmV0
    >>> requests = [
    ...     cbviz.Request(id=i, prompt=[1, 2], max_new_tokens=4, output_length=4, arrival=2 * i) for i in range(2)
    ... ]
    >>> workload = cbviz.Workload("two", requests, arrival_unit="iterations")
    >>> cbviz.schedule(VllmV0(), workload, slots=2).iterations.stalled_slots.tolist()
    [0, 0, 1, 0, 0, 0]
    """

    watermark: float = 0.01
    max_num_batched_tokens: int | None = None
    name: str = "vllm_v0"
    summary: str = Message("policy.vllm_v0.summary")

    def __post_init__(self) -> None:
        not_negative(self, "watermark", below=1)
        whole_or_none(self, "max_num_batched_tokens")

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        # Preempted requests are at the head of the queue.
        swapped = [request for request in takewhile(lambda r: r.preemptions, view.waiting) if request.swapped]
        newcomers, put_off = self._prefills(view) if not swapped else ([], {})
        if newcomers:
            pause = {request.id: PREFILL_FIRST for request in view.running}
            return Plan(admit=newcomers, pause=pause, put_off=put_off)
        preempt, free = self._preemptions(view)
        if not swapped:
            return Plan(preempt=preempt, put_off=put_off)
        if preempt:
            return Plan(preempt=preempt, put_off=view.closed(PREEMPTING))
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
                return newcomers, {request.id: Reason("prefill_room", tokens=request.lacks, left=tokens, budget=budget)}
            needed = view.blocks_taken(request, request.known)
            kept = kept_free if view.running or newcomers else 0
            if needed + kept > blocks:
                return newcomers, {request.id: lacks_blocks(needed, blocks, request.known, kept)}
            tokens, blocks = tokens - request.lacks, blocks - needed
            newcomers.append(Admit(request.id, reserve=request.known))
        return newcomers, {}

    def _swapped_in(self, view: View, swapped: list[RequestView], free: int) -> tuple[list[Admit], dict[int, str]]:
        """Requests to swap in beside the decodes, and why the others stay in host memory."""
        back: list[Admit] = []
        kept_free = int(self.watermark * view.total_blocks)
        for request in swapped:
            if len(back) == view.free_slots:
                break
            needed = view.blocks_for(request.known)
            kept = kept_free + 1 if view.running or back else 0
            if needed + kept > free:
                return back, {request.id: lacks_blocks(needed, free, request.known, kept)}
            free -= needed
            back.append(Admit(request.id, reserve=request.known))
        first = next((request for request in view.waiting if not request.swapped), None)
        return back, {first.id: SWAPPED_FIRST} if first else {}

    def _preemptions(self, view: View) -> tuple[dict[int, str], int]:
        """Which requests a decode of all running ones preempts, and the blocks that are then free.

        The oldest get blocks first, the newest lose them first.
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
                preempted[newest.id] = Reason("blocks_needed_by", request=oldest.id)
            if needed > free:
                free += view.freed_by(oldest, gone)
                gone.append(oldest)
                preempted[oldest.id] = NO_BLOCK
            else:
                free -= needed
        return preempted, free
