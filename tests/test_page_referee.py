"""The page's referee refuses the plans that Python's refuses, with the same sentences."""

from __future__ import annotations

from typing import Any

import pytest

from cbviz.errors import PolicyError
from cbviz.messages import as_json
from cbviz.policies.base import Admit, Plan, RequestView, View
from cbviz.policies.check import check
from tests.page import in_node

WAITING = [RequestView(id=i, arrival=0.0, prompt_tokens=20, max_new_tokens=12) for i in (5, 6, 7, 8)]
RUNNING = [
    RequestView(id=1, arrival=0.0, prompt_tokens=9, max_new_tokens=8, generated=2, computed=10, slot=0, blocks=3),
    RequestView(id=2, arrival=0.0, prompt_tokens=9, max_new_tokens=8, generated=0, computed=4, slot=2, blocks=1),
]
FINISHED = [
    RequestView(id=3, arrival=0.0, prompt_tokens=3, max_new_tokens=8, generated=8, computed=10, slot=1, blocks=3)
]
VIEW = View(
    iteration=7,
    now=1.5,
    slots=5,
    waiting=WAITING,
    running=RUNNING,
    finished=FINISHED,
    free_slots=3,
    free_blocks=17,
    block_size=4,
    total_blocks=21,
    context_limit=40,
    clock=1.5,
)
PLANS: list[dict[str, Any]] = [
    {},
    {"admit": [5, 6]},
    {"admit": [5, 6, 7]},
    {"admit": [5, 6, 7, 8]},
    {"admit": [5, 5]},
    {"admit": [1]},
    {"admit": [99, 5]},
    {"admit": [{"request": 5, "reserve": 19}]},
    {"admit": [{"request": 5, "reserve": 41}]},
    {"admit": [{"request": 5, "reserve": 20}, {"request": 6, "reserve": 20}, {"request": 7, "reserve": 20}]},
    {"admit": [{"request": 5, "reserve": 8}], "chunk": {5: 8}},
    {"admit": [5, 6, 7], "hold": "all"},
    {"admit": [5, 6], "hold": [3]},
    {"hold": [1]},
    {"hold": [3]},
    {"preempt": {5: "it waits"}},
    {"preempt": {1: "for 5"}, "admit": [5, 6]},
    {"preempt": {1: "for 5"}, "pause": {1: "twice"}},
    {"pause": {3: "it has ended"}},
    {"pause": {1: "later"}, "chunk": {1: 1}},
    {"chunk": {1: 2}},
    {"chunk": {2: 0}},
    {"chunk": {2: 6}},
    {"chunk": {2: 5}},
    {"chunk": {8: 1}},
    {"put_off": {8: "no room"}},
    {"wait_until": 9.0},
]


def python_says(plan: dict[str, Any]) -> str | None:
    entries = [Admit(**entry) if isinstance(entry, dict) else entry for entry in plan.get("admit", ())]
    try:
        check(Plan(**{**plan, "admit": entries}), VIEW)
    except PolicyError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def ours() -> Any:
    fields = {name: getattr(VIEW, name) for name in VIEW.__dataclass_fields__ if name != "freed_together"}
    requests = {name: [request._asdict() for request in fields[name]] for name in ("waiting", "running", "finished")}
    return in_node("referee.mjs", {"view": fields | requests, "plans": PLANS})


@pytest.mark.parametrize("place", range(len(PLANS)), ids=[str(plan) for plan in PLANS])
def test_a_plan_gets_the_same_verdict(ours: Any, place: int) -> None:
    assert ours["verdicts"][place] == python_says(PLANS[place])


def test_there_are_plans_of_both_kinds() -> None:
    verdicts = [python_says(plan) for plan in PLANS]
    assert 5 < sum(verdict is None for verdict in verdicts) < len(PLANS) - 10


def test_a_view_answers_as_pythons_does(ours: Any) -> None:
    assert ours["fitting"] == VIEW.fitting()
    assert dict(ours["misfit"]) == {request: as_json(why) for request, why in VIEW.misfit(VIEW.fitting()).items()}
    assert dict(ours["closed"]) == VIEW.closed("why", [0])
