"""Sarathi-Serve: stall-free batching; every decode runs in every iteration, and prompts fill what is left in chunks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import not_negative, whole


@dataclass(frozen=True, slots=True)
class Sarathi:
    """First all decodes, then the prompts that have begun, then new ones, in chunks that fill the token budget.

    Sarathi-Serve, OSDI'24, §4.2 and algorithm 3; `sarathi_scheduler.py` of its repository. A decode is never paused,
    however many there are: prompts get what the decodes leave of the budget. A decode that needs a block when none is
    free preempts the newest behind it, in the end itself. A newcomer gets blocks for all tokens that it has at
    admission, also after a preemption, so a prompt that has begun never lacks one.

    Two things differ from the repository. There a decode preempts as soon as no block is free, here only if it needs
    one just then. There newcomers are looked at in an iteration that preempts, too; here nobody is admitted in it, as
    under `vllm_v1`: the preempted stand at the head of the queue, and would come back at once to do everything again.

    A request that lacks a single token counts as a decode, also if that token is the last of its prompt. As under
    `vllm_v0`, the watermark does not count while nothing runs.

    Parameters
    ----------
    chunk_size
        The token budget of an iteration. 512; the paper uses 512 for a strict and 2,048 for a relaxed latency target.
    watermark
        Part of the pool that an admission leaves free. 0.01, taken over from vLLM.
    """

    chunk_size: int = 512
    watermark: float = 0.01
    name: str = "sarathi"

    def __post_init__(self) -> None:
        whole(self.name, "chunk_size", self.chunk_size)
        not_negative(self.name, "watermark", self.watermark, below=1)

    @property
    def summary(self) -> str:
        return f"every decode runs; prompts fill up to {self.chunk_size} tokens in chunks"

    def plan(self, view: View) -> Plan:
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
                preempt[newest.id] = f"request {request.id} needs its blocks"
            if needed > free:
                free += view.freed_by(request, gone)
                gone.append(request)
                preempt[request.id] = "no block is free"
            else:
                budget, free = budget - 1, free - needed

        chunk: dict[int, int] = {}
        pause: dict[int, str] = {}
        for request in prefills:
            if budget < 1:
                pause[request.id] = "budget spent on decodes"
                continue
            n = min(request.lacks, budget)
            budget -= n
            if n < request.lacks:
                chunk[request.id] = n

        admit: list[Admit] = []
        put_off = view.closed("somebody was preempted, and nobody enters in such an iteration") if preempt else {}
        kept_free = int(self.watermark * view.total_blocks)
        for request in view.waiting if view.free_slots and not preempt else ():
            if len(admit) == view.free_slots:
                break
            if budget < 1:
                put_off[request.id] = f"the budget of {self.chunk_size} tokens is spent"
                break
            needed = view.blocks_taken(request, request.known)
            kept = kept_free if view.running or admit else 0
            if needed + kept > free:
                put_off[request.id] = lacks_blocks(needed, free, f"{request.known} tokens", kept)
                break
            free -= needed
            admit.append(Admit(request.id, reserve=request.known))
            n = min(request.lacks, budget)
            budget -= n
            if n < request.lacks:
                chunk[request.id] = n
        return Plan(admit=admit, preempt=preempt, pause=pause, chunk=chunk, put_off=put_off)
