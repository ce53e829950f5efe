"""Which policies can drive another engine: admissions and chunks map, the rest is refused by name beforehand."""

from __future__ import annotations

import pytest

from cbviz.adapters.driving import Driver, view_of
from cbviz.errors import AdapterError, PolicyError
from cbviz.policies import Admit, Plan, Policy, RequestView, View
from cbviz.workload import Request, Workload


class Refill:
    """First come, first served; `plan` is what the tests change."""

    name, summary = "mine", "for tests"

    def plan(self, view: View) -> Plan:
        return Plan(admit=view.fitting())


class SmallestFirst(Refill):
    def plan(self, view: View) -> Plan:
        return Plan(admit=sorted(view.waiting, key=lambda request: request.prompt_tokens)[: view.free_slots])


class Chunks(Refill):
    def plan(self, view: View) -> Plan:
        admit = view.fitting()
        taking = [*view.running, *(request for request in view.waiting if request.id in admit)]
        return Plan(admit=admit, chunk={request.id: 7 for request in taking if request.lacks > 7})


class Optimist(Refill):
    def plan(self, view: View) -> Plan:
        return Plan(admit=[Admit(r.id, reserve=r.prompt_tokens) for r in view.waiting[: view.free_slots]])


class Pauses(Refill):
    def plan(self, view: View) -> Plan:
        return Plan(admit=view.fitting(), pause={r.id: "later" for r in view.running[1:2]})


class Preempts(Refill):
    def plan(self, view: View) -> Plan:
        old = [request for request in view.running if request.generated == 3 and not request.preemptions]
        return Plan(preempt={old[0].id: "enough"}) if old else Plan(admit=view.fitting())


class Sleeps(Refill):
    def plan(self, view: View) -> Plan:
        return Plan(wait_until=view.clock + 5) if view.clock < 5 else Plan(admit=view.fitting())


@pytest.mark.parametrize("policy", ["continuous", "one_at_a_time", "orca", SmallestFirst(), Chunks()])
def test_admissions_and_chunks_can_be_mapped(policy: str | Policy) -> None:
    Driver(policy, "their engine").rehearse()


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        ("static", "holds finished requests in their slots"),
        ("request_level", "holds finished requests in their slots"),
        ("tgi", "pauses request 2"),
        ("sarathi", r"admits request 0 with room for 5 of its 21 positions \(optimistic memory\)"),
        ("vllm_v0", "optimistic memory"),
        ("vllm_v1", "optimistic memory"),
        (Optimist(), r"admits request 0 with room for 5 of its 21 positions \(optimistic memory\)"),
        (Pauses(), "pauses request 1"),
        (Preempts(), "preempts request 0"),
        (Sleeps(), "waits for a time of its own choice"),
    ],
)
def test_everything_else_is_refused_by_name_before_anything_runs(policy: str | Policy, asks: str) -> None:
    with pytest.raises(AdapterError, match=rf"^policy '\w+' .*{asks}.*, which their engine cannot do; a policy that"):
        Driver(policy, "their engine").rehearse()


class PausesLongPrompts(Refill):
    """Does nothing wrong on the rehearsal's own workload."""

    def plan(self, view: View) -> Plan:
        return Plan(admit=view.fitting(), pause={r.id: "long" for r in view.running if r.prompt_tokens > 50})


def test_the_work_to_come_is_rehearsed_too() -> None:
    driver = Driver(PausesLongPrompts(), "their engine")
    driver.rehearse()
    work = Workload("long", (Request(0, (1,) * 60, 4), Request(1, (1,) * 3, 4, arrival=2.5)))
    with pytest.raises(AdapterError, match="'mine' pauses request 0, which their engine cannot do"):
        driver.rehearse(work, slots=2)


def test_a_policy_that_raises_is_named() -> None:
    class Fails(Refill):
        def plan(self, view: View) -> Plan:
            raise KeyError("no such thing")

    with pytest.raises(PolicyError, match="'mine' raised KeyError while planning iteration 0"):
        Driver(Fails(), "their engine").rehearse()


def test_what_slips_through_a_rehearsal_is_refused_when_it_is_asked_for() -> None:
    def judge(view: View, plan: object) -> None:
        if view.iteration == 7:
            raise AdapterError("not seven.")

    driver = Driver("continuous", "their engine", judge)
    seen = view_of(
        iteration=7,
        now=0.0,
        slots=2,
        waiting=[RequestView(0, 0.0, 4, 4)],
        running=[RequestView(1, 0.0, 4, 5, slot=0)],
        total_blocks=8,
        block_size=4,
        context_limit=32,
        last_admission=None,
    )
    assert (seen.free_slots, seen.free_blocks, seen.running[0].blocks) == (1, 5, 3)
    with pytest.raises(AdapterError, match=r"^not seven\.$"):
        driver.plan(seen)
