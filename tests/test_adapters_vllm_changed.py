"""A vLLM that has changed under a policy or the plugin keeps serving: every answer comes, one sentence is logged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from cbviz.adapters.vllm.known import POLICY_VARIABLE
from cbviz.adapters.vllm.scheduler import driven
from tests.fake_vllm import V33, FCFSRequestQueue, Request, Scheduler, serve
from tests.test_adapters_vllm import SHAPES, requests, warnings_of

SMALLEST_FIRST = "tests.test_adapters_driving:SmallestFirst"
CHUNKS = "tests.test_adapters_driving:Chunks"


class Renamed(FCFSRequestQueue):
    """What vLLM itself calls is under new names; those that cbviz knows are gone."""

    def push(self, request: Request) -> None:
        self.append(request)

    def drop(self, requests: Iterable[Request]) -> None:
        FCFSRequestQueue.remove_requests(self, requests)

    def __getattribute__(self, name: str) -> Any:
        if name in ("add_request", "remove_requests"):
            raise AttributeError(name)
        return super().__getattribute__(name)


class AddsByPriority(FCFSRequestQueue):
    def add_request(self, request: Request, priority: int) -> None:  # type: ignore[override]
        self.append(request)


class RemovesByName(FCFSRequestQueue):
    def remove_requests(self, requests: Iterable[Request]) -> None:
        names: set[Any] = set(requests)
        kept = [request for request in self if request.request_id not in names]
        self.clear()
        self.extend(kept)


class NewestFirst(FCFSRequestQueue):
    def add_request(self, request: Request) -> None:
        self.appendleft(request)


class NeedsSettings(FCFSRequestQueue):
    def __init__(self, settings: object) -> None:
        super().__init__()


class FillsUp(FCFSRequestQueue):
    """Takes back nothing that it has had: found out only when the real queue is filled again."""

    def __init__(self) -> None:
        super().__init__()
        self.strict = False

    def add_request(self, request: Request) -> None:
        if self.strict:
            raise RuntimeError("request is known already")
        self.append(request)


@dataclass(frozen=True)
class Frozen:
    max_num_seqs: int = 3
    max_num_batched_tokens: int = 64
    long_prefill_token_threshold: int = 0
    async_scheduling: bool = False
    policy: str = "fcfs"


class Changed(Scheduler):
    """vLLM with another queue: it goes on using it in its own way."""

    def __init__(self, queue: Any, *args: Any) -> None:
        super().__init__(*args)
        self.waiting = queue

    def add_request(self, request: Request) -> None:
        self.requests[request.request_id] = request
        self.waiting.append(request)
        if isinstance(self.waiting, FillsUp):
            self.waiting.strict = True

    def _free(self, request: Request) -> None:
        request.finished = True
        self.finished_req_ids.add(request.request_id)
        self.running = [other for other in self.running if other is not request]
        del self.requests[request.request_id]


def all_served(made: Any, caplog: pytest.LogCaptureFixture, said: str) -> None:
    answers = serve(made, requests())
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]
    (warning,) = warnings_of(caplog)
    assert said in warning
    assert warning.endswith("; from here on vLLM schedules by its own rule.")
    assert made.cbviz_off
    assert (made.max_num_scheduled_tokens, made.scheduler_config.long_prefill_token_threshold) == (64, 0)


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        (Renamed(), "AttributeError: add_request"),
        (AddsByPriority(), "TypeError: "),
        (RemovesByName(), "does not let go of the requests that it is asked to remove"),
        (NewestFirst(), "does not keep the order in which it was filled"),
        (NeedsSettings({}), "TypeError: "),
        (FillsUp(), "RuntimeError: request is known already"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_queue_that_changed_loses_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, queue: Any, said: str
) -> None:
    monkeypatch.setenv(POLICY_VARIABLE, SMALLEST_FIRST)
    made = driven(Changed)(queue)
    all_served(made, caplog, said)


@pytest.mark.parametrize("policy", [SMALLEST_FIRST, CHUNKS])
def test_settings_that_cannot_be_assigned_any_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    class Fixed(Scheduler):
        max_num_scheduled_tokens = property(lambda self: 64, lambda self, value: self.only_once(value))

        def only_once(self, value: int) -> None:
            if hasattr(self, "running"):
                raise AttributeError("max_num_scheduled_tokens cannot be set")

    monkeypatch.setenv(POLICY_VARIABLE, policy)
    all_served(driven(Fixed)(), caplog, "AttributeError: max_num_scheduled_tokens cannot be set")


def test_a_frozen_config_stops_only_policies_that_cut_chunks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Freezing(Scheduler):
        def __init__(self) -> None:
            super().__init__()
            self.scheduler_config = Frozen()  # type: ignore[assignment]

    monkeypatch.setenv(POLICY_VARIABLE, SMALLEST_FIRST)
    made = driven(Freezing)()
    assert len(serve(made, requests())) == len(SHAPES)
    assert (made.cbviz_off, made.cbviz_deviations, warnings_of(caplog)) == ("", 0, [])
    monkeypatch.setenv(POLICY_VARIABLE, CHUNKS)
    all_served(driven(Freezing)(), caplog, "FrozenInstanceError: cannot assign to field")


@pytest.mark.parametrize("part", ["max_num_scheduled_tokens", "block_size", "cache_config"])
def test_parts_that_are_gone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str) -> None:
    """Under another name, which vLLM itself uses."""

    class Without(Scheduler):
        hidden = False

        def __getattribute__(self, name: str) -> Any:
            if name == part and object.__getattribute__(self, "hidden"):
                raise AttributeError(f"there is no {part}")
            return super().__getattribute__(name)

        def schedule(self, throttle_prefills: bool = False) -> Any:
            self.hidden = False
            return super().schedule(throttle_prefills)

        def update_from_output(self, scheduler_output: Any, sampled: dict[str, int]) -> Any:
            result = super().update_from_output(scheduler_output, sampled)
            self.hidden = bool(self.requests)
            return result

    monkeypatch.setenv(POLICY_VARIABLE, SMALLEST_FIRST)
    made = driven(Without)()
    made.hidden = True
    all_served(made, caplog, f"AttributeError: there is no {part}")


def test_an_output_that_changed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Renaming(Scheduler):
        def schedule(self, throttle_prefills: bool = False) -> Any:
            output = super().schedule(throttle_prefills)
            return SimpleNamespace(tokens=output.num_scheduled_tokens)

    monkeypatch.setenv(POLICY_VARIABLE, SMALLEST_FIRST)
    made = driven(Renaming)()
    made.add_request(Request("r0", 9, 5))
    assert made.schedule().tokens == {"r0": 9}
    assert made.schedule().tokens == {"r0": 0}
    (warning,) = warnings_of(caplog)
    assert warning.startswith("cbviz: AttributeError: ")


def test_a_queue_that_vllm_replaces_in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that were not admitted go into the new one, not into the one that vLLM has left."""

    class Replacing(Scheduler):
        def schedule(self, throttle_prefills: bool = False) -> Any:
            output = super().schedule(throttle_prefills)
            self.waiting = FCFSRequestQueue(self.waiting)
            return output

    monkeypatch.setenv(POLICY_VARIABLE, SMALLEST_FIRST)
    made = driven(Replacing)()
    answers = serve(made, requests())
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]
    assert (made.cbviz_off, made.cbviz_deviations) == ("", 0)


def test_an_error_of_vllms_own_passes_and_leaves_the_queue_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Scheduler):
        def schedule(self, throttle_prefills: bool = False) -> Any:
            raise MemoryError("no more blocks")

    monkeypatch.setenv(POLICY_VARIABLE, SMALLEST_FIRST)
    made = driven(Failing)()
    for request in requests():
        made.add_request(request)
    with pytest.raises(MemoryError, match="no more blocks"):
        made.schedule()
    assert {request.request_id for request in made.waiting} == {request.request_id for request in requests()}
    assert (made.max_num_scheduled_tokens, made.cbviz_off) == (64, "")


def test_a_rule_of_vllms_that_was_switched_off_for_a_policy_is_on_again_without_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Adaptive(Scheduler):
        adaptive_long_prefill_threshold = True

    monkeypatch.setenv(POLICY_VARIABLE, "continuous")
    made = driven(Adaptive)(V33, budget=16)
    assert made.adaptive_long_prefill_threshold is False
    assert len(serve(made, requests())) == len(SHAPES)
    assert len(warnings_of(caplog)) == 1
    assert made.adaptive_long_prefill_threshold is True


def test_a_policy_remembers_only_requests_that_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POLICY_VARIABLE, "continuous")
    made = driven(Scheduler)()
    serve(made, requests())
    made.add_request(Request("new", 4, 2))
    made.schedule()
    assert made._cbviz_numbers == {"new": len(SHAPES)}
    assert list(made._cbviz_admitted) == ["new"]


def test_a_config_without_what_is_asked_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Bare(Scheduler):
        def __init__(self) -> None:
            super().__init__()
            del self.cache_config

        def _free_blocks(self, request: Request) -> int:
            return 1000

    monkeypatch.setenv(POLICY_VARIABLE, "continuous")
    made = driven(Bare)()
    all_served(made, caplog, "has no attribute 'cache_config'")
    assert made.cbviz_policy == ""
