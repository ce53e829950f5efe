"""What every policy may see and say besides admitting: the clock, the last admission, and waiting for a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import PolicyError
from cbviz.policies import POLICIES, Continuous, Plan, Static, View, get
from tests.pictures import picture, requests, run


@dataclass
class Watcher:
    """Admits what fits, and records its views."""

    name: str = "watcher"
    summary: str = ""
    seen: list[tuple[int, float, int | None]] = field(default_factory=list)

    def plan(self, view: View) -> Plan:
        self.seen.append((view.iteration, view.clock, view.last_admission))
        return Plan(admit=view.fitting())


@dataclass
class Script:
    """A policy from a function."""

    rule: Callable[[View], Plan]
    name: str = "script"
    summary: str = ""

    def plan(self, view: View) -> Plan:
        return self.rule(view)


def test_the_clock_is_in_the_unit_of_arrivals() -> None:
    """Request 1 runs 2 iterations, request 2 comes at 5 and runs 1; an iteration takes 0.5 s."""
    work = requests([2, 1], arrivals=[0, 5])
    pictures = {}
    for unit in ("seconds", "iterations"):
        watcher = Watcher()
        engine = Engine(NullExecutor(seconds=0.5), watcher, slots=1, pool=BlockPool(9, 1), arrival_unit=unit)  # type: ignore[arg-type]
        list(engine.run(work))
        pictures[unit] = watcher.seen
    assert pictures["seconds"] == [(0, 0.0, None), (1, 0.5, 0), (2, 1.0, 0), (2, 5.0, 0), (3, 5.5, 2)]
    assert pictures["iterations"] == [(0, 0, None), (1, 1, 0), (2, 2, 0), (2, 5, 0), (3, 6, 2)]


def test_waiting_ends_at_the_moment_named_or_at_an_arrival() -> None:
    def patient(view: View) -> Plan:
        """No request starts before 4, unless two wait."""
        enough = len(view.waiting) > 1 or view.clock >= 4
        return Plan(admit=view.fitting()) if enough or view.running else Plan(wait_until=4)

    for lag in (0, 1):
        alone = run(Script(patient), 2, requests([2]), unit="seconds", lag=lag)
        assert [it.t_start for it in alone] == [4, 5]
        joined = run(Script(patient), 2, requests([2, 2], arrivals=[0, 1.5]), unit="seconds", lag=lag)
        assert [it.t_start for it in joined] == [1.5, 2.5]
        assert picture(joined) == ["11", "22"]


def test_waiting_has_no_effect_while_a_request_computes() -> None:
    rule = Script(lambda view: Plan(admit=view.fitting(), wait_until=view.clock + 100))
    assert [it.t_start for it in run(rule, 1, requests([2, 1]), unit="seconds")] == [0, 1, 2]


@pytest.mark.parametrize("until", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_moment_that_never_comes(until: object) -> None:
    engine = Engine(NullExecutor(), Script(lambda view: Plan(wait_until=until)), slots=1, pool=BlockPool(9, 1))  # type: ignore[arg-type]
    engine.submit(*requests([2]))
    with pytest.raises(PolicyError, match="it must be a finite number above the clock of 0"):
        engine.step()
    engine.policy = Continuous()
    assert len(list(engine.run())) == 2


def test_waiting_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.core.loop.STUCK_AFTER", 50)
    lazy = Script(lambda view: Plan(wait_until=view.clock + 1))
    engine = Engine(NullExecutor(), lazy, slots=1, pool=BlockPool(9, 1))
    engine.submit(*requests([2]))
    with pytest.raises(
        PolicyError, match="stuck: 50 times in a row no request advanced and it waited, while 1 request waits"
    ):
        engine.step()
    engine.policy = Continuous()
    assert len(list(engine.run())) == 2


def test_a_policys_own_complaint_is_one_sentence() -> None:
    def complain(view: View) -> Plan:
        raise PolicyError("request 1 is too much for me.")

    engine = Engine(NullExecutor(), Script(complain), slots=1, pool=BlockPool(9, 1))
    engine.submit(*requests([2]))
    with pytest.raises(PolicyError, match=r"^policy 'script', iteration 0: request 1 is too much for me\.$"):
        engine.step()


def test_every_policy_has_a_name_and_a_line_about_itself() -> None:
    for name in POLICIES:
        policy = get(name)
        assert policy.name == name
        assert 10 < len(policy.summary) < 100
        assert "\n" not in policy.summary
        assert type(policy).__doc__


@pytest.mark.parametrize("until", [0, -1, 2.5, float("nan"), "x", True])
def test_a_static_batch_runs_for_whole_iterations(until: Any) -> None:
    with pytest.raises(PolicyError, match="static: run_to must be None or a whole number of at least 1, not"):
        Static(run_to=until)
