"""The executor for speed shares beginnings and swaps as the plain one does."""

from __future__ import annotations

import pytest

from cbviz.config import Preemption
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.events import State
from cbviz.policies import Policy, Sarathi, Static, VllmV0, VllmV1
from tests.test_policies_answers import ALIKE, ALIKE_ALONE, MODEL


@pytest.mark.parametrize(
    ("policy", "preemption", "lag"),
    [
        (Static(), "recompute", 0),
        (VllmV0(), "swap", 1),
        (VllmV1(6, reserve_full_sequence=False), "swap", 1),
        (Sarathi(6), "recompute", 1),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_graphs_answer_as_alone_with_shared_beginnings(policy: Policy, preemption: Preemption, lag: int) -> None:
    pool = BlockPool(12, 4, prefix_cache=True)
    executor = GraphExecutor(MODEL, slots=4, pool=pool, lag=lag, limit=40, compiled=False)
    engine = Engine(executor, policy, slots=4, pool=pool, lag=lag, preemption=preemption)
    events = list(engine.run(ALIKE))
    assert {r.id: engine.output(r.id) for r in ALIKE} == ALIKE_ALONE
    assert any(entry.found for it in events for entry in it.reused)
    assert preemption == "recompute" or sum(it.swapped_in for it in events) > 0
    if isinstance(policy, Sarathi):
        assert any((it.state == State.RECOMPUTE).any() for it in events)
