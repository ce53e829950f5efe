"""vLLM's current scheduler: one token budget per iteration and no phases; a prompt just lacks more tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cbviz.checks import is_whole, shown
from cbviz.errors import PolicyError
from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import flag, whole
from cbviz.reason import Reason

NO_BLOCK, PREEMPTING = Reason("no_block_free"), Reason("preempting")
NO_BUDGET = Reason("no_budget")


@dataclass(frozen=True, slots=True)
class VllmV1:
    """Spend a token budget on running requests first, then on new ones; prompts are cut to what is left of it.

    vLLM V1 (since 2025), `v1/core/sched/scheduler.py`. Running requests come first, in order of admission: each takes
    in as many of the tokens that it lacks as the budget allows. If no block is free for them, the newest requests are
    preempted until one is, or until the request itself is preempted. Only an iteration without a preemption admits
    requests, from the front of the queue, each with a chunk of what is left of the budget, until one finds no blocks.
    Requests take blocks as they grow. A preempted request loses all its blocks, goes to the head of the queue, and is
    recomputed, also in chunks.

    No running request stalls while the budget is at least the number of slots.

    If a priority preempts a request that is not the last, vLLM ends the iteration's scheduling there; here the requests
    behind it are still scheduled.

    Parameters
    ----------
    max_num_batched_tokens
        The budget. 2,048, the default of vLLM's `SchedulerConfig`; its server raises it on large GPUs.
    long_prefill_token_threshold
        The most tokens that one request takes in per iteration, so that a long prompt leaves budget for others. 0 sets
        no such limit.
    reserve_full_sequence
        Admit a request only if blocks are free for all tokens that it has now, not just for its first chunk
        (`scheduler_reserve_full_isl`, by default true). The blocks must be free; they are not taken.
    priority
        None is first come, first served. A mapping of request id to priority (lower goes first; a request that it does
        not name keeps its own, so {} takes what the requests declare) orders the queue, and preempts the last in
        (priority, arrival), as vLLM's `policy="priority"`.

    Raises
    ------
    PolicyError
        A parameter is out of range or of the wrong type.
    """

    max_num_batched_tokens: int = 2048
    long_prefill_token_threshold: int = 0
    reserve_full_sequence: bool = True
    priority: Mapping[int, int] | None = None
    name: str = "vllm_v1"

    def __post_init__(self) -> None:
        whole(self, "max_num_batched_tokens")
        whole(self, "long_prefill_token_threshold", least=0)
        flag(self, "reserve_full_sequence")
        if self.priority is not None and not (
            isinstance(self.priority, Mapping) and all(is_whole(n) for pair in self.priority.items() for n in pair)
        ):
            raise PolicyError(
                f"{self.name}: priority must map request ids to whole numbers, not be {shown(self.priority)}."
            )

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        return Message("policy.vllm_v1.summary", tokens=self.max_num_batched_tokens)

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
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
                preempt[victim.id] = NO_BLOCK if victim is request else Reason("blocks_needed_by", request=request.id)
                free += view.freed_by(victim, gone) + blocks.pop(victim.id, 0)
                gone.append(victim)
                budget += tokens.pop(victim.id, 0)
            if request.id not in preempt:
                budget, free = budget - n, free - needed
                tokens[request.id], blocks[request.id] = n, needed

        admit: list[Admit] = []
        chunk: dict[int, int] = {}
        put_off = view.closed(PREEMPTING) if preempt else {}
        for request in () if preempt or not view.free_slots else self._queue(view):
            n = min(self._wanted(request), budget)
            if len(admit) == view.free_slots:
                break
            if n == 0:
                put_off[request.id] = Reason("budget_spent", budget=self.max_num_batched_tokens)
                break
            tokens_of = request.known if self.reserve_full_sequence else request.computed + n
            must_be_free = view.blocks_taken(request, tokens_of)
            if must_be_free > free:
                put_off[request.id] = lacks_blocks(must_be_free, free, tokens_of)
                break
            budget, free = budget - n, free - view.blocks_lacking(request, n)
            admit.append(Admit(request.id, reserve=request.computed + n))
            if n < request.lacks:
                chunk[request.id] = n

        for request in running:
            if 0 < tokens[request.id] < request.lacks:
                chunk[request.id] = tokens[request.id]
        pause = {request.id: NO_BUDGET for request in running if not tokens[request.id]}
        return Plan(admit=admit, preempt=preempt, pause=pause, chunk=chunk, put_off=put_off)

    def _wanted(self, request: RequestView) -> int:
        lacks, threshold = request.lacks, self.long_prefill_token_threshold
        return min(lacks, threshold) if threshold else lacks

    def _rank(self, request: RequestView) -> tuple[int, float, int]:
        return (self.priority or {}).get(request.id, request.priority), request.arrival, request.id

    def _queue(self, view: View) -> Sequence[RequestView]:
        return view.waiting if self.priority is None else sorted(view.waiting, key=self._rank)

    def _last(self, running: list[RequestView]) -> RequestView:
        return running[-1] if self.priority is None else max(running, key=self._rank)
