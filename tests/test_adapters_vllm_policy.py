"""A cbviz policy inside vLLM's scheduler, on a fake of its documented shape: the schedule follows the policy."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.adapters.vllm import plugin, read, scheduler
from cbviz.adapters.vllm.known import POLICY_VARIABLE
from cbviz.adapters.vllm.scheduler import cut, driven, policy_named
from cbviz.errors import AdapterError
from cbviz.policies import Plan, Policy, View
from tests.fake_vllm import V26, V33, AsyncScheduler, Request, Scheduler, Version, install, serve
from tests.test_adapters_driving import Chunks, Refill, SmallestFirst
from tests.test_adapters_vllm import SHAPES, requests, warnings_of, workload

MINE = "tests.test_adapters_vllm_policy"


class Budgeted(Refill):
    """Decodes first; prompts take what is left of 12 tokens. Each admission keeps room for all that it can need."""

    def plan(self, view: View) -> Plan:
        left = 12 - sum(request.lacks == 1 for request in view.running)
        chunk = {}
        for request in view.running:
            if request.lacks > 1:
                chunk[request.id] = min(left, request.lacks)
                left -= chunk[request.id]
        admit = []
        for request in view.fitting() and view.waiting:
            if len(admit) < view.free_slots and left > 0:
                admit.append(request.id)
                chunk[request.id] = min(left, request.lacks)
                left -= chunk[request.id]
        return Plan(admit=admit, chunk=chunk)


class TwoSizes(Refill):
    """Chunks of 5 and 9 tokens in one pass, neither the last: no threshold yields them."""

    def plan(self, view: View) -> Plan:
        admit = view.fitting()
        taking = [*view.running, *(request for request in view.waiting if request.id in admit)]
        sizes = {request.id: 5 + 4 * (request.id % 2) for request in taking}
        return Plan(admit=admit, chunk={r.id: sizes[r.id] for r in taking if r.lacks > sizes[r.id]})


class FailsLater(Refill):
    def plan(self, view: View) -> Plan:
        if view.total_blocks > 500 and view.iteration == 2:
            raise LookupError("lost my notes")
        return Plan(admit=view.fitting())


def policy_scheduler(
    monkeypatch: pytest.MonkeyPatch, name: str, base: type = Scheduler, version: Version = V26, **settings: Any
) -> Any:
    monkeypatch.setenv(POLICY_VARIABLE, name)
    return driven(base)(version, **settings)


@pytest.mark.parametrize("version", [V26, V33], ids=lambda version: version.number)
@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("continuous", "continuous"),
        ("one_at_a_time", "one_at_a_time"),
        (f"{MINE}:SmallestFirst", SmallestFirst()),
        (f"{MINE}:Chunks", Chunks()),
        (f"{MINE}:Budgeted", Budgeted()),
    ],
)
def test_its_schedule_is_the_policys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: Version, name: str, policy: str | Policy
) -> None:
    monkeypatch.setenv(POLICY_VARIABLE, name)
    made = plugin.recording(driven(Scheduler), str(tmp_path / "run.jsonl"), version.number)(version)
    answers = serve(made, requests())
    theirs = read(tmp_path / "run.jsonl")
    ours = cbviz.schedule(policy, workload(), slots=3, block_size=4)
    for column in ("admitted", "finished", "slot"):
        assert getattr(theirs.requests, column).tolist() == getattr(ours.requests, column).tolist()
    assert theirs.iterations.prefill_tokens.tolist() == ours.iterations.prefill_tokens.tolist()
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]
    assert (made.cbviz_deviations, made.cbviz_off) == (0, "")
    assert theirs.meta.policy.endswith(" in vLLM")
    assert (made.max_num_scheduled_tokens, made.scheduler_config.long_prefill_token_threshold) == (64, 0)


@pytest.mark.parametrize("version", [V26, V33], ids=lambda version: version.number)
@pytest.mark.parametrize("name", ["continuous", f"{MINE}:SmallestFirst", f"{MINE}:Chunks", f"{MINE}:Budgeted"])
def test_async_scheduling_follows_it_too(monkeypatch: pytest.MonkeyPatch, version: Version, name: str) -> None:
    made = policy_scheduler(monkeypatch, name, AsyncScheduler, version)
    ending = [*requests(), Request("soon", 8, 20, ends_after=3)]
    answers = serve(made, ending)
    assert [len(answer) for answer in answers.values()] == [*(output for _, output in SHAPES), 3]
    assert (made.cbviz_deviations, made.cbviz_off) == (0, "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("static", "policy 'static' holds finished requests in their slots, which vLLM cannot do"),
        ("tgi", "policy 'tgi' pauses request 2, which vLLM cannot do"),
        ("vllm_v1", r"policy 'vllm_v1' admits request 0 with room for .*\(optimistic memory\), which vLLM cannot do"),
        ("tests.test_adapters_driving:Optimist", r"\(optimistic memory\), which vLLM cannot do"),
        (f"{MINE}:TwoSizes", r"the chunks of iteration \d+ are \[.*\] of \[.*\] tokens, for which vLLM has no setting"),
        ("fair", "CBVIZ_VLLM_POLICY must be static, .*, or module:Class for a policy of your own, not 'fair'"),
        ("no.such.module:Fair", "names 'no.such.module:Fair', which cannot be made: No module named 'no'"),
        (f"{MINE}:Missing", "which cannot be made: module .* has no attribute 'Missing'"),
        (f"{MINE}:Request", "which cannot be made: .*missing 3 required positional arguments"),
    ],
)
def test_a_policy_is_refused_before_anything_is_served(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    made: list[object] = []
    monkeypatch.setattr(Scheduler, "__init__", lambda self, *_: made.append(self))
    with pytest.raises(AdapterError, match=message):
        policy_scheduler(monkeypatch, name)
    assert not made


def test_settings_of_the_server_that_would_interfere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdapterError, match="scheduling policy 'priority' orders the queue itself"):
        policy_scheduler(monkeypatch, "continuous", queue="priority")
    with pytest.raises(AdapterError, match="start vLLM with --no-enable-prefix-caching"):
        policy_scheduler(monkeypatch, "continuous", prefix_caching=True)

    class Speculating(Scheduler):
        num_spec_tokens = 4

    with pytest.raises(AdapterError, match="speculative decoding takes in several tokens a decode"):
        policy_scheduler(monkeypatch, "continuous", Speculating)


@pytest.mark.parametrize("base", [Scheduler, AsyncScheduler])
def test_a_policy_that_fails_while_serving_leaves_the_server_to_its_own_rule(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, base: type
) -> None:
    made = policy_scheduler(monkeypatch, f"{MINE}:FailsLater", base)
    answers = serve(made, requests())
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]
    assert len(warnings_of(caplog)) == 1
    assert "raised LookupError while planning iteration 2: lost my notes" in made.cbviz_off
    assert "from here on vLLM schedules by its own rule" in warnings_of(caplog)[0]


def test_a_plan_beyond_the_budget_of_the_server_is_left_to_its_own_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy_scheduler(monkeypatch, "continuous", budget=16)
    assert len(serve(made, requests())) == len(SHAPES)
    assert "plans more tokens than vLLM's max_num_batched_tokens" in made.cbviz_off


def test_an_engine_that_does_not_follow_is_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Scheduler):
        def schedule(self, throttle_prefills: bool = False) -> Any:
            self.max_num_scheduled_tokens = 8
            return super().schedule(throttle_prefills)

    made = policy_scheduler(monkeypatch, "continuous", Stubborn)
    assert len(serve(made, requests())) == len(SHAPES)
    assert made.cbviz_deviations > 1
    assert len(warnings_of(caplog)) == 1
    assert "where the plan has" in warnings_of(caplog)[0]


def test_the_class_that_vllm_looks_up_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdapterError, match=r"^PolicyScheduler needs vLLM, which cannot be imported: No module named"):
        _ = scheduler.PolicyScheduler
    install(monkeypatch)
    assert issubclass(scheduler.PolicyScheduler, AsyncScheduler)
    assert scheduler.PolicyScheduler is scheduler.PolicyScheduler
    assert plugin.recording(scheduler.PolicyScheduler, "x", "0.26.0").__name__ == "RecordingPolicyScheduler"
    install(monkeypatch, Version("0.9.0", False, False))
    with pytest.raises(AdapterError, match=r"^vllm 0\.9\.0 is installed"):
        _ = scheduler.PolicyScheduler
    with pytest.raises(AttributeError, match="it has PolicyScheduler"):
        _ = scheduler.FairScheduler


def test_cut_agrees_with_a_plain_search() -> None:
    """Every budget and threshold, tried one by one, finds a pair exactly where `cut` does."""
    rng = random.Random(5)

    def taken(lacks: list[int], budget: int, threshold: int) -> list[int]:
        out = []
        for most in lacks:
            out.append(min(most, threshold or most, budget))
            budget -= out[-1]
        return out

    found = 0
    for _ in range(400):
        lacks = [rng.randint(1, 9) for _ in range(rng.randint(1, 4))]
        wanted = [rng.randint(1, most) for most in lacks]
        pairs = [(b, t) for b in range(37) for t in range(10) if taken(lacks, b, t) == wanted]
        got = cut(lacks, wanted, 36)
        assert (got is None) == (not pairs)
        if got is not None:
            found += 1
            assert taken(lacks, *got) == wanted
    assert 40 < found < 400


def test_policies_are_found_by_name() -> None:
    assert policy_named("continuous").name == "continuous"
    assert isinstance(policy_named(f"{MINE}:SmallestFirst"), SmallestFirst)
