"""The page draws the workloads that Python draws: the same tasks, and for a seed the same requests."""

from __future__ import annotations

from typing import Any

import pytest

from cbviz.workload.tasks import catalogue, task_workload
from tests.page import in_node, tiny
from tools.page_data import facts

DRAWS = [(requests, seed) for requests in (1, 7, 64) for seed in (0, 1, 2, 3, 4, 2**31, 2**32 - 1)]


@pytest.fixture(scope="module")
def drawn() -> Any:
    return in_node("workload.mjs", {"facts": facts(), "draws": DRAWS})


def test_every_task_is_there_in_pythons_order(drawn: Any) -> None:
    assert drawn["tasks"] == [[task.kind, task.prompt, task.answer] for task in catalogue()]
    assert len(drawn["tasks"]) > 10_000


@pytest.mark.parametrize(("place", "requests", "seed"), [(i, *draw) for i, draw in enumerate(DRAWS)])
def test_a_seed_draws_the_same_requests(drawn: Any, place: int, requests: int, seed: int) -> None:
    expected = task_workload(tiny().encode, requests, seed)
    assert drawn["workloads"][place] == [
        {
            "id": request.id,
            "prompt": list(request.prompt),
            "max_new_tokens": request.max_new_tokens,
            "arrival": 0,
            "text": request.text,
            "answer": request.answer,
        }
        for request in expected
    ]
