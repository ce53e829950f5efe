"""Sarathi-Serve: stall-free batching. Every decode runs in every iteration; chunks of prompts fill the rest."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import not_negative, whole
from cbviz.reason import Reason

NO_BLOCK, PREEMPTING = Reason("no_block_free"), Reason("preempting")
NO_BUDGET = Reason("no_budget_beside_decodes")


@dataclass(frozen=True, slots=True)
class Sarathi:
    """First all decodes, then the prompts that have begun, then new ones, in chunks that fill the token budget.

    Sarathi-Serve, OSDI'24, §4.2 and algorithm 3; `sarathi_scheduler.py` of its repository. A decode is never paused,
    however many there are: prompts get what the decodes leave of the budget. A decode that needs a block when none is
    free preempts the newest request behind it, or itself if there is none. A new request gets blocks for all tokens
    that it has at admission, also after a preemption, so a prompt that has begun never lacks one.

    Two things differ from the repository. There a decode preempts as soon as no block is free, here only if it needs
    one in this iteration. There an iteration that preempts also considers new requests; here it admits none, as under
    `vllm_v1`: the preempted requests are at the head of the queue, and would come back at once to be recomputed.

    A request that lacks a single token counts as a decode, even if that token is the last of its prompt. As under
    `vllm_v0`, the watermark does not apply while nothing runs.

    Parameters
    ----------
    chunk_size
        The token budget of an iteration. 512; the paper uses 512 for a strict and 2,048 for a relaxed latency target.
    watermark
        Share of the pool that an admission leaves free. 0.01, as in vLLM.

    Raises
    ------
    PolicyError
        A parameter is out of range.

    Examples
    --------
    A prompt of 10 tokens goes in by chunks of 4, and the decode beside it (1 token) continues:

    >>> import cbviz
    >>> from cbviz.policies import Sarathi
    >>> prompts = {0: [1], 1: [1] * 10}
    >>> requests = [cbviz.Request(id=i, prompt=p, max_new_tokens=4, output_length=4) for i, p in prompts.items()]
    >>> trace = cbviz.schedule(Sarathi(chunk_size=5), cbviz.Workload("two", requests), slots=2)
    >>> trace.iterations.prefill_tokens.tolist()
    [5, 4, 2, 0, 0, 0]
    """

    chunk_size: int = 512
    watermark: float = 0.01
    name: str = "sarathi"

    def __post_init__(self) -> None:
        whole(self, "chunk_size")
        not_negative(self, "watermark", below=1)

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        return Message("policy.sarathi.summary", tokens=self.chunk_size)

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        budget, free = self.chunk_size, view.free_blocks
        preempt: dict[int, str] = {}
        gone: list[RequestView] = []
        prefills: list[RequestView] = []
        behind = deque(view.running)
        while behind:
            request = behind.popleft()
            if request.lacks > 1:
                prefills.append(request)
                continue
            needed = view.blocks_lacking(request, 1)
            while needed > free and behind:
                newest = behind.pop()
                free += view.freed_by(newest, gone)
                gone.append(newest)
                preempt[newest.id] = Reason("blocks_needed_by", request=request.id)
            if needed > free:
                free += view.freed_by(request, gone)
                gone.append(request)
                preempt[request.id] = NO_BLOCK
            else:
                budget, free = budget - 1, free - needed

        chunk: dict[int, int] = {}
        pause: dict[int, str] = {}
        for request in prefills:
            if budget < 1:
                pause[request.id] = NO_BUDGET
                continue
            n = min(request.lacks, budget)
            budget -= n
            if n < request.lacks:
                chunk[request.id] = n

        admit: list[Admit] = []
        put_off = view.closed(PREEMPTING) if preempt else {}
        kept_free = int(self.watermark * view.total_blocks)
        for request in view.waiting if view.free_slots and not preempt else ():
            if len(admit) == view.free_slots:
                break
            if budget < 1:
                put_off[request.id] = Reason("budget_spent", budget=self.chunk_size)
                break
            needed = view.blocks_taken(request, request.known)
            kept = kept_free if view.running or admit else 0
            if needed + kept > free:
                put_off[request.id] = lacks_blocks(needed, free, request.known, kept)
                break
            free -= needed
            admit.append(Admit(request.id, reserve=request.known))
            n = min(request.lacks, budget)
            budget -= n
            if n < request.lacks:
                chunk[request.id] = n
        return Plan(admit=admit, preempt=preempt, pause=pause, chunk=chunk, put_off=put_off)
