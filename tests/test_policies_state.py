"""What a policy remembers belongs to one run: every run starts from a fresh copy of what the caller handed over."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import pytest

import cbviz
from cbviz.errors import MeasureError, PolicyError
from cbviz.measure.roofline_bound import Rates
from cbviz.models import LoadedModel, load
from cbviz.policies import POLICIES, Plan, View, fresh
from cbviz.run.bench import bench
from cbviz.run.race import Race, race
from cbviz.run.schedule import schedule
from cbviz.run.why import why
from cbviz.workload import Request, Workload

RATES = Rates(1e11, 1e12)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny")


def work(number: int = 8) -> Workload:
    return Workload("w", tuple(Request(i, (5,) * 4, 6 + i % 3, output_length=6 + i % 3) for i in range(number)))


class Once:
    """Admits every request once and remembers whom; also how often it was asked."""

    name = "once"
    summary = "admits each request once"

    def __init__(self) -> None:
        self.done: set[int] = set()
        self.asked = 0

    def plan(self, view: View) -> Plan:
        self.asked += 1
        admit = [request for request in view.fitting() if request not in self.done]
        self.done.update(admit)
        return Plan(admit=admit)


class Drawing:
    """Admits in a random order, from a generator of its own."""

    name = "random"
    summary = "a random order, always the same"

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def plan(self, view: View) -> Plan:
        waiting, admit, blocks = list(view.waiting), [], view.free_blocks
        self.generator.shuffle(waiting)
        for request in waiting:
            taken = view.blocks_taken(request, request[2] + request[3])
            if len(admit) < view.free_slots and taken <= blocks:
                admit.append(request[0])
                blocks -= taken
        return Plan(admit=admit)


class Around:
    """Asks another policy."""

    name = "around"
    summary = "asks another"

    def __init__(self, inner: Once) -> None:
        self.inner = inner
        self.pick = inner.plan

    def plan(self, view: View) -> Plan:
        return self.pick(view)


def iterations(ran: Race, lane: int) -> list[int]:
    return [len(trace.iterations) for trace in ran._runs[lane]]


@pytest.mark.parametrize("policies", [["static", "once"], ["once", "static"], ["once", "once"]])
@pytest.mark.parametrize("repeats", [0, 2])
def test_a_race_never_carries_state_along(tiny: LoadedModel, policies: list[str], repeats: int) -> None:
    own = Once()
    ran = race(
        tiny, [own if name == "once" else name for name in policies], slots=4, requests=8, repeats=repeats, live=False
    )
    assert own.done == set()
    assert own.asked == 0
    for lane, name in zip(ran.lanes, policies, strict=True):
        assert len(lane.trace.requests) == 8
        if name == "once":
            served = lane.policy_object
            assert isinstance(served, Once)
            assert served is not own
            assert served.done == set(range(8))
            assert served.asked >= lane.iterations, "of the last run alone"
            assert served.asked <= lane.iterations + 1
    assert ran.why(0, 0).lanes
    assert own.asked == 0


@pytest.mark.parametrize("make", [lambda: random.Random(0), lambda: np.random.default_rng(0)])
def test_a_seeded_random_policy_does_the_same_in_every_repeat(tiny: LoadedModel, make: Callable[[], Any]) -> None:
    found = []
    for lanes, mine in (([Drawing(make()), "static"], 0), (["static", Drawing(make())], 1)):
        ran = race(tiny, lanes, slots=2, requests=8, repeats=3, max_new_tokens=6, live=False)
        found += iterations(ran, mine)
        assert len(iterations(ran, mine)) == 3
    assert len(set(found)) == 1, "in every repeat, whichever lane it is in"


def test_a_change_after_handing_over_changes_nothing(tiny: LoadedModel) -> None:
    own = Once()
    ran = race(tiny, [own, "continuous"], slots=4, requests=6, repeats=1, live=False, run=False)
    own.done.update(range(99))
    assert len(ran.run().lanes[0].trace.requests) == 6


def test_a_policy_that_holds_another_is_copied_as_a_whole(tiny: LoadedModel) -> None:
    own = Around(Once())
    ran = race(tiny, [own, own], slots=4, requests=6, repeats=2, live=False)
    assert own.inner.asked == 0
    first, second = (lane.policy_object for lane in ran.lanes)
    assert isinstance(first, Around)
    assert isinstance(second, Around)
    assert first.inner is not second.inner
    assert first.inner.asked > 0


def test_a_benchmark_a_schedule_and_why_leave_the_policy_alone(tiny: LoadedModel) -> None:
    own = Once()
    found = bench(tiny, own, requests=6, slots=2, repeats=2, rates=RATES)
    assert own.asked == 0
    assert isinstance(found.scheduler, Once)
    assert found.scheduler.asked == 0
    assert str(found.why(0, 0))
    trace = schedule(own, work(), slots=2)
    assert len(trace.iterations) == len(schedule(own, work(), slots=2).iterations)
    assert "let in" in str(why(trace, 0, 0, policy=own))
    assert "waits" in str(why(trace, 7, 1, policy=own))
    assert (own.asked, own.done) == (0, set())


def test_a_playground_begins_afresh_whenever_a_policy_takes_over(tiny: LoadedModel) -> None:
    own = Once()
    made = cbviz.play(
        tiny, own, policies=["continuous"], slots=2, rate=60, mean=6, iterations=40, pace=240, live=False, run=False
    )
    made.set("policy", "once")
    made.run()
    first = made._lanes[-1].policy.policy
    assert isinstance(first, Once)
    assert first.asked > 0
    made.set("policy", "once")
    made._take_changes()
    assert made._lanes[-1].policy.policy is not first
    assert made._lanes[-1].policy.policy.asked == own.asked == 0  # type: ignore[attr-defined]


class Holding(Once):
    """Holds something."""

    name = "holding"

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what


class Slotted:
    __slots__ = ("guard",)
    name, summary = "slotted", "with slots"

    def __init__(self) -> None:
        self.guard = threading.Lock()

    def plan(self, view: View) -> Plan:
        return Plan(admit=view.fitting())


class Refusing(Once):
    def __deepcopy__(self, memo: object) -> NoReturn:
        raise OSError("no copies of me")


class Other(Once):
    def __deepcopy__(self, memo: object) -> str:
        return "a copy"


class Answering:
    """Answers to every name that it has not."""

    name, summary = "answering", "a proxy"

    def plan(self, view: View) -> Plan:
        return Plan(admit=view.fitting())

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def numbers() -> Iterator[int]:
    yield 1


UNCOPYABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "a lock": (lambda: Holding(threading.Lock()), "self.what is of type lock"),
    "a generator": (lambda: Holding(numbers()), "self.what is of type generator"),
    "a file": (lambda: Holding(io.TextIOWrapper(io.BytesIO())), "self.what is of type TextIOWrapper"),
    "a module": (lambda: Holding(random), "self.what is of type module"),
    "a lock in a dict in a list": (
        lambda: Holding([1, {"guard": threading.Lock()}]),
        r"self.what\[1\]\['guard'\] is of type lock",
    ),
    "a lock in a policy in a policy": (lambda: Holding(Holding(threading.Lock())), "self.what.what is of type lock"),
    "slots": (Slotted, "self.guard is of type lock"),
    "its own word": (Refusing, r"copying it raised OSError \(no copies of me\)"),
    "another thing": (Other, "its copy is a str. Look for"),
    "a proxy": (Answering, "its copy is a NoneType. Look for a __getattr__"),
}


@pytest.mark.parametrize("case", UNCOPYABLE)
def test_what_cannot_be_copied_is_named_before_anything_runs(case: str) -> None:
    make, message = UNCOPYABLE[case]
    policy = make()
    sentence = rf"^policy '\w+' cannot be copied.*, and every run starts from a fresh copy: .*{message}"
    for attempt in (
        lambda: race("no such model", ["static", policy], live=False),
        lambda: bench("no such model", policy),
        lambda: schedule(policy, work()),
        lambda: cbviz.play("no such model", policy, live=False),
    ):
        with pytest.raises(PolicyError, match=sentence):
            attempt()
    with pytest.raises(MeasureError, match=f"this run cannot be rerun: .*{message}"):
        why(schedule("continuous", work(), slots=2), 0, 0, policy=policy)


def test_the_built_in_policies_are_copied_as_they_are() -> None:
    for name, make in POLICIES.items():
        policy = make()
        assert fresh(policy) == policy, name


def test_lanes_have_different_names(tiny: LoadedModel) -> None:
    class Called(Once):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    ran = race(tiny, [Called("a"), Called("a"), Called("a 1")], slots=4, requests=4, repeats=1, live=False)
    assert len(set(ran.names)) == 3
