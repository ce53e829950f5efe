"""Client and priority of a request reach the policy, whichever loop asks it, and whatever file they come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import cbviz
from cbviz import Plan, View
from cbviz.errors import WorkloadError
from cbviz.policies import VllmV1
from cbviz.run.traffic_work import work_of
from cbviz.simulator import CostModel, Work
from cbviz.simulator.asking import AskingLoop
from cbviz.simulator.fast import Memory
from cbviz.workload import Traffic


@dataclass
class Fair:
    """Admits the waiting client that has been admitted least; of one client, by priority."""

    name: str = "fair"
    summary: str = "shares out by client"
    counts: Counter[str | None] = field(default_factory=Counter)
    seen: set[tuple[str | None, int]] = field(default_factory=set)

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        self.seen |= {(request.client, request.priority) for request in (*view.waiting, *view.running, *view.finished)}
        chosen: list[int] = []
        waiting = list(view.waiting)
        while waiting and len(chosen) < view.free_slots:
            first = min(waiting, key=lambda r: (self.counts[r.client], r.priority, r.id))
            waiting.remove(first)
            self.counts[first.client] += 1
            chosen.append(first.id)
        return Plan(admit=chosen)


TENANTS = Traffic(
    "tenants", (0.0,) * 7, (5,) * 7, (3,) * 7, client=("heavy",) * 5 + ("light", None), priority=(0, 0, 9, -9, 1, 4, 0)
)
FAIR_ORDER = [3, 6, 5, 0, 1, 4, 2]
"""By admissions of the client so far, then by priority, then by number."""


def test_a_policy_can_be_fair_to_clients() -> None:
    """The engine's loop, the plain loop and a file's columns show the same clients and priorities."""
    tenants = set(zip(TENANTS.client, TENANTS.priority, strict=True))
    trace = cbviz.schedule(Fair(), TENANTS.workload(50), slots=1)
    order = [trace.requests.id[row] for row in np.argsort(trace.requests.admitted)]
    assert order == FAIR_ORDER
    policy = Fair()
    work = work_of(TENANTS)
    found = AskingLoop(policy, work, CostModel(0.01), Memory(1, 100, 16, 64), 0, None)
    assert found.run(lambda _: None)
    assert np.argsort(found.admitted).tolist() == FAIR_ORDER
    assert policy.seen == tenants
    assert work.first(3).client == TENANTS.client[:3]
    again = Work.of(work.workload())
    assert again.client == work.client
    assert work.priority is not None
    assert again.priority is not None
    assert again.priority.tolist() == work.priority.tolist() == list(TENANTS.priority)


def test_vllm_takes_the_priorities_of_the_requests() -> None:
    work = TENANTS.workload(50)
    order = np.argsort(cbviz.schedule(VllmV1(priority={}), work, slots=1).requests.admitted).tolist()
    assert order == [3, 0, 1, 6, 4, 5, 2]
    named = cbviz.schedule(VllmV1(priority={2: -20}), work, slots=1).requests.admitted
    assert np.argsort(named).tolist() == [2, 3, 0, 1, 6, 4, 5]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"client": ("a",)}, "client must be empty or a list of 2 names"),
        ({"client": (1, "a")}, "row 0 has the client 1; it must be a text or None"),
        ({"priority": [0]}, "priority has 1 rows and arrival 2"),
        ({"priority": [0, 2**31]}, "row 1 has priority 2147483648"),
        ({"priority": [0, 0.5]}, "priority must be a list of whole numbers"),
    ],
)
def test_columns_of_tenants_are_checked(columns: dict[str, Any], complaint: str) -> None:
    with pytest.raises(WorkloadError, match=complaint):
        Work([0.0, 0.0], [1, 1], [1, 1], **columns)


def test_declared_lengths_are_kept() -> None:
    traffic = Traffic("t", (0.0, 1.0), (5, 5), (2, 3), max_new_tokens=(9, 4))
    assert [request.max_new_tokens for request in traffic.workload(50)] == [9, 4]
    assert work_of(traffic).max_new_tokens.tolist() == [9, 4]
    assert traffic.clipped(output_tokens=3).max_new_tokens == (3, 3)
    assert set(traffic.resampled(20).max_new_tokens) == {9, 4}
    with pytest.raises(WorkloadError, match="max_new_tokens of row 2 must be a whole number of at least 3"):
        Traffic("t", (0.0, 1.0), (5, 5), (2, 3), max_new_tokens=(9, 2))
