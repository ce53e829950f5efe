"""vLLM's scheduler as far as its documented shape goes, for tests: the names, the fields and the order of calls of V1.

`install` puts modules of these names where `import vllm` finds them. The rule is vLLM's plain one (running requests in
order, then the queue, one budget, a long-prefill threshold, the newest preempted when blocks run out), with and without
async scheduling. Written from the packages of 0.26 and 0.33; what differs between them is `Version`.
"""

from __future__ import annotations

import enum
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass(frozen=True)
class Version:
    number: str
    active_limit: bool
    """Whether `max_num_active_seqs` bounds what runs."""
    lone_request_is_uncut: bool
    """Whether the long-prefill threshold is ignored for a request that is alone."""


V26 = Version("0.26.0", active_limit=False, lone_request_is_uncut=False)
V33 = Version("0.33.0", active_limit=True, lone_request_is_uncut=True)


class FinishReason(enum.IntEnum):
    STOP = 0
    LENGTH = 1
    ABORT = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(eq=False)
class Request:
    request_id: str
    num_prompt_tokens: int
    max_tokens: int
    ends_after: int = 10**9
    """The model says END with this output token."""
    num_computed_tokens: int = 0
    num_output_placeholders: int = 0
    output: list[int] = field(default_factory=list)
    arrival_time: float = field(default_factory=time.time)
    finished: bool = False

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + len(self.output)


class FCFSRequestQueue(deque[Request]):
    def add_request(self, request: Request) -> None:
        self.append(request)

    def prepend_request(self, request: Request) -> None:
        self.appendleft(request)

    def remove_requests(self, requests: Iterable[Request]) -> None:
        gone = set(requests)
        kept = [request for request in self if request not in gone]
        self.clear()
        self.extend(kept)


@dataclass
class SchedulerOutput:
    scheduled_new_reqs: list[Any]
    scheduled_cached_reqs: Any
    num_scheduled_tokens: dict[str, int]
    total_num_scheduled_tokens: int
    finished_req_ids: set[str]


class Scheduler:
    """A fake engine core calls it: `schedule`, then `update_from_output` with one token for each complete row."""

    is_async = False

    def __init__(
        self,
        version: Version = V26,
        *,
        seqs: int = 3,
        budget: int = 64,
        blocks: int = 1000,
        threshold: int = 0,
        queue: str = "fcfs",
        prefix_caching: bool = False,
    ) -> None:
        self.version = version
        self.scheduler_config = SimpleNamespace(
            max_num_seqs=seqs,
            max_num_batched_tokens=budget,
            long_prefill_token_threshold=threshold,
            async_scheduling=self.is_async,
            policy=queue,
        )
        self.vllm_config = SimpleNamespace(model_config=SimpleNamespace(model="fake/model"))
        self.cache_config = SimpleNamespace(num_gpu_blocks=blocks, enable_prefix_caching=prefix_caching)
        self.block_size = 4
        self.max_model_len = 512
        self.max_num_running_reqs = seqs
        if version.active_limit:
            self.max_num_active_reqs = seqs
        self.max_num_scheduled_tokens = budget
        self.requests: dict[str, Request] = {}
        self.waiting = FCFSRequestQueue()
        self.running: list[Request] = []
        self.finished_req_ids: set[str] = set()
        self.shut = False

    def add_request(self, request: Request) -> None:
        self.requests[request.request_id] = request
        self.waiting.add_request(request)

    def finish_requests(self, names: Iterable[str]) -> None:
        for name in names:
            self._free(self.requests[name])

    def shutdown(self) -> None:
        self.shut = True

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        budget, tokens, new, cached, preempted = self.max_num_scheduled_tokens, {}, [], [], False
        threshold = self.scheduler_config.long_prefill_token_threshold
        if self.version.lone_request_is_uncut and len(self.running) + len(self.waiting) <= 1:
            threshold = 0
        for request in list(self.running):
            if request not in self.running or budget <= 0:
                continue
            placeholders = request.num_output_placeholders
            last = request.num_prompt_tokens + request.max_tokens
            if placeholders > 0 and request.num_computed_tokens + 2 - placeholders >= last:
                continue
            n = request.num_tokens + placeholders - request.num_computed_tokens
            n = min(n, threshold or n, budget)
            while self._blocks(request, n) > self._free_blocks(request):
                victim = self.running.pop()
                victim.num_computed_tokens = 0
                self.waiting.prepend_request(victim)
                preempted = True
                if victim is request:
                    break
            if request in self.running:
                tokens[request.request_id] = n
                cached.append((request.request_id, request.num_computed_tokens))
                budget -= n
        while self.waiting and budget > 0 and not preempted and len(self.running) < self.max_num_running_reqs:
            request = self.waiting[0]
            n = request.num_tokens - request.num_computed_tokens
            n = min(n, threshold or n, budget)
            if self._blocks(request, request.num_tokens) > self._free_blocks(request):
                break
            self.waiting.popleft()
            self.running.append(request)
            tokens[request.request_id] = n
            budget -= n
            new.append(SimpleNamespace(req_id=request.request_id, num_computed_tokens=request.num_computed_tokens))
        output = SchedulerOutput(
            new,
            SimpleNamespace(req_ids=[name for name, _ in cached], num_computed_tokens=[start for _, start in cached]),
            tokens,
            sum(tokens.values()),
            self.finished_req_ids,
        )
        self.finished_req_ids = set()
        for name, n in tokens.items():
            request = self.requests[name]
            request.num_computed_tokens += n
            if self.is_async and request.num_computed_tokens >= request.num_tokens + request.num_output_placeholders:
                request.num_output_placeholders += 1
        return output

    def update_from_output(self, scheduler_output: SchedulerOutput, sampled: dict[str, int]) -> dict[int, Any]:
        outputs = []
        for name in scheduler_output.num_scheduled_tokens:
            request = self.requests.get(name)
            if request is None or name not in sampled:
                continue
            request.output.append(sampled[name])
            request.num_output_placeholders -= self.is_async
            reason = None
            if len(request.output) == request.ends_after:
                reason = FinishReason.STOP
            elif len(request.output) == request.max_tokens:
                reason = FinishReason.LENGTH
            if reason is not None:
                self._free(request)
            outputs.append(
                SimpleNamespace(request_id=name, new_token_ids=[sampled[name]], finish_reason=reason, stop_reason=None)
            )
        return {0: SimpleNamespace(outputs=outputs)}

    def _free(self, request: Request) -> None:
        request.finished = True
        self.finished_req_ids.add(request.request_id)
        self.running = [other for other in self.running if other is not request]
        self.waiting.remove_requests([request])
        del self.requests[request.request_id]

    def _blocks(self, request: Request, tokens: int) -> int:
        return -(-(request.num_computed_tokens + tokens) // self.block_size)

    def _free_blocks(self, request: Request) -> int:
        used = (-(-other.num_computed_tokens // self.block_size) for other in self.running if other is not request)
        return int(self.cache_config.num_gpu_blocks) - 1 - sum(used)


class AsyncScheduler(Scheduler):
    is_async = True


class SchedulerConfig:
    async_scheduling = True

    def get_scheduler_cls(self) -> type:
        return AsyncScheduler if self.async_scheduling else Scheduler


def install(monkeypatch: pytest.MonkeyPatch, version: Version = V26) -> type[SchedulerConfig]:
    """Let `import vllm` find the fakes. Returns a fresh `SchedulerConfig`, which a plugin may change."""
    config = type("SchedulerConfig", (SchedulerConfig,), {})
    for name, facts in (
        ("vllm", {"__version__": version.number}),
        ("vllm.config", {"SchedulerConfig": config}),
        ("vllm.v1", {}),
        ("vllm.v1.core", {}),
        ("vllm.v1.core.sched", {}),
        ("vllm.v1.core.sched.async_scheduler", {"AsyncScheduler": AsyncScheduler}),
    ):
        module = ModuleType(name)
        vars(module).update(facts)
        monkeypatch.setitem(sys.modules, name, module)
    return config


def serve(scheduler: Any, requests: Iterable[Request], abort: dict[int, str] | None = None) -> dict[str, list[int]]:
    """The engine core's loop: sync, or with one pass under way. Returns the answers.

    `abort` names a request that a client takes back before a step.
    """
    requests = list(requests)
    for request in requests:
        scheduler.add_request(request)
    under_way: deque[tuple[SchedulerOutput, dict[str, int]]] = deque()
    for step in range(10_000):
        if abort and step in abort:
            scheduler.finish_requests([abort[step]])
        output = scheduler.schedule(False)
        ready = {name: 100 + step for name in output.num_scheduled_tokens if _complete(scheduler.requests[name])}
        under_way.append((output, ready))
        if len(under_way) > scheduler.is_async:
            scheduler.update_from_output(*under_way.popleft())
        if not scheduler.requests and not any(output.total_num_scheduled_tokens for output, _ in under_way):
            while under_way:
                scheduler.update_from_output(*under_way.popleft())
            scheduler.schedule()
            scheduler.shutdown()
            return {request.request_id: request.output for request in requests}
    raise AssertionError("the fake engine does not come to an end")


def _complete(request: Request) -> bool:
    """Whether a row yields a token: it has taken in all that is known of its request."""
    return request.num_computed_tokens >= request.num_tokens + max(0, request.num_output_placeholders - 1)
