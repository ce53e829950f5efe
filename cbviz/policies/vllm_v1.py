"""vLLM's scheduler of today: one token budget an iteration, no phases; a prompt is a request that lacks many tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cbviz.errors import PolicyError
from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import flag, whole


@dataclass(frozen=True, slots=True)
class VllmV1:
    """Share a budget of tokens among running requests first, then newcomers; prompts are cut to what is left of it.

    vLLM V1 (since 2025), `v1/core/sched/scheduler.py`. Running requests come first, in order of admission: each takes
    in as many of the tokens it lacks as the budget allows. Is no block free for them, the newest is preempted, until
    there is one or the request itself is out. Only if nobody was preempted are newcomers admitted, from the front of
    the queue, each with a chunk of what the budget has left; the first that gets no blocks ends it. Blocks are taken as
    requests grow. The preempted lose all their blocks, go to the head of the queue, and are recomputed, in chunks too.

    Nobody who runs is stalled while the budget is at least the number of slots.

    Where a priority preempts a request that does not stand last, vLLM ends the iteration's scheduling there; here those
    behind it go on.

    Parameters
    ----------
    max_num_batched_tokens
        The budget. 2,048, the default of vLLM's `SchedulerConfig`; its server raises it on large GPUs.
    long_prefill_token_threshold
        The most tokens that one request takes in at a time, so that a long prompt leaves budget for others. 0: no such
        limit.
    reserve_full_sequence
        Admit only while blocks are free for all tokens that a newcomer has now, not just for its first chunk
        (`scheduler_reserve_full_isl`, by default true). They are looked for, not taken.
    priority
        None is first come, first served. A mapping request id → priority (lower goes first, 0 where it names none)
        orders the queue and throws out the last in (priority, arrival), as vLLM's `policy="priority"`.
    """

    max_num_batched_tokens: int = 2048
    long_prefill_token_threshold: int = 0
    reserve_full_sequence: bool = True
    priority: Mapping[int, int] | None = None
    name: str = "vllm_v1"

    def __post_init__(self) -> None:
        whole(self.name, "max_num_batched_tokens", self.max_num_batched_tokens)
        whole(self.name, "long_prefill_token_threshold", self.long_prefill_token_threshold, least=0)
        flag(self.name, "reserve_full_sequence", self.reserve_full_sequence)
        if self.priority is not None and not (
            isinstance(self.priority, Mapping)
            and all(isinstance(n, int) and not isinstance(n, bool) for pair in self.priority.items() for n in pair)
        ):
            raise PolicyError(f"{self.name}: priority must map request ids to whole numbers, not be {self.priority!r}.")

    @property
    def summary(self) -> str:
        return f"{self.max_num_batched_tokens} tokens an iteration, running requests first; preempt the newest"

    def plan(self, view: View) -> Plan:
        budget, free = self.max_num_batched_tokens, view.free_blocks
        running = list(view.running)
        tokens: dict[int, int] = {}
        blocks: dict[int, int] = {}
        preempt: dict[int, str] = {}
        gone: list[RequestView] = []
        for request in tuple(running):
            if request.id in preempt:
                continue
            n = min(self._wanted(request), budget)
            needed = view.blocks_lacking(request, n)
            while needed > free and request.id not in preempt:
                victim = self._last(running)
                running.remove(victim)
                preempt[victim.id] = (
                    "no block is free" if victim is request else f"request {request.id} needs its blocks"
                )
                free += view.freed_by(victim, gone) + blocks.pop(victim.id, 0)
                gone.append(victim)
                budget += tokens.pop(victim.id, 0)
            if request.id not in preempt:
                budget, free = budget - n, free - needed
                tokens[request.id], blocks[request.id] = n, needed

        admit: list[Admit] = []
        chunk: dict[int, int] = {}
        put_off = view.closed("somebody was preempted, and nobody enters in such an iteration") if preempt else {}
        for request in () if preempt or not view.free_slots else self._queue(view):
            n = min(self._wanted(request), budget)
            if len(admit) == view.free_slots:
                break
            if n == 0:
                put_off[request.id] = f"the budget of {self.max_num_batched_tokens} tokens is spent"
                break
            tokens_of = request.known if self.reserve_full_sequence else request.computed + n
            must_be_free = view.blocks_taken(request, tokens_of)
            if must_be_free > free:
                put_off[request.id] = lacks_blocks(must_be_free, free, f"{tokens_of} tokens")
                break
            budget, free = budget - n, free - view.blocks_lacking(request, n)
            admit.append(Admit(request.id, reserve=request.computed + n))
            if n < request.lacks:
                chunk[request.id] = n

        for request in running:
            if 0 < tokens[request.id] < request.lacks:
                chunk[request.id] = tokens[request.id]
        pause = {request.id: "budget spent" for request in running if not tokens[request.id]}
        return Plan(admit=admit, preempt=preempt, pause=pause, chunk=chunk, put_off=put_off)

    def _wanted(self, request: RequestView) -> int:
        lacks, threshold = request.lacks, self.long_prefill_token_threshold
        return min(lacks, threshold) if threshold else lacks

    def _rank(self, request: RequestView) -> tuple[int, float, int]:
        return (self.priority or {}).get(request.id, 0), request.arrival, request.id

    def _queue(self, view: View) -> Sequence[RequestView]:
        return view.waiting if self.priority is None else sorted(view.waiting, key=self._rank)

    def _last(self, running: list[RequestView]) -> RequestView:
        return running[-1] if self.priority is None else max(running, key=self._rank)
