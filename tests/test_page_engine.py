"""The page's engine plans, computes and reports what Python's does: iteration for iteration and token by token.

There is a grid of five policies, five seeds, four numbers of slots, ample and tight memory. Every schedule of it is
compared, with 16 requests and torch's answers given; a sample is computed by the page's model as well.
CBVIZ_WHOLE_GRID=1 computes all of it, with 64 requests (ten minutes on two cores).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import pytest

from cbviz.events import NO_REQUEST, Iteration
from cbviz.view.pack import LaneEncoder, read
from tests.page import in_node, tiny
from tests.page_schedules import AMPLE, BUDGETS, TIGHT, Case, answers, digest, events, grid, row
from tools.page_data import facts

SAMPLE = [
    Case("static", 8, AMPLE, 24, 0, whole=True),
    Case("continuous", 8, AMPLE, 24, 0, whole=True),
    Case("orca", 3, TIGHT, 16, 1, whole=True),
    Case("vllm_v1", 16, TIGHT, 24, 2, BUDGETS["vllm_v1"], whole=True),
    Case("sarathi", 8, TIGHT, 24, 3, BUDGETS["sarathi"], whole=True),
    Case("vllm_v1", 4, AMPLE, 16, 4),
    Case("sarathi", 4, TIGHT, 16, 4),
    Case("static", 3, TIGHT, 12, 2),
    Case("continuous", 1, TIGHT, 6, 3),
    Case("wild", 5, AMPLE, 16, 1, whole=True),
    Case("wild", 4, TIGHT, 12, 3, whole=True),
]
WHOLE = bool(os.environ.get("CBVIZ_WHOLE_GRID"))
CASES = [*SAMPLE, *grid(64 if WHOLE else 16, replayed=not WHOLE)]


TOGETHER = len(SAMPLE)
"""Cases that one process of node serves."""


@cache
def together(first: int) -> list[dict[str, Any]]:
    cases = CASES[first : first + TOGETHER]
    known = {
        f"{case.requests} {case.seed}": [[list(prompt), answer] for prompt, answer in given.items()]
        for case in cases
        if case.replayed and (given := answers(case.requests, case.seed))
    }
    return list(in_node("schedules.mjs", {"facts": facts(), "cases": list(map(asdict, cases)), "answers": known}))


def served(place: int) -> dict[str, Any]:
    """What the page's engine and model do in a case."""
    return together(place - place % TOGETHER)[place % TOGETHER]


@pytest.mark.parametrize(("place", "case"), list(enumerate(CASES)))
def test_schedules_and_answers_are_equal_iteration_for_iteration(place: int, case: Case) -> None:
    expected = [row(event) for event in events(case)]
    ours = served(place)
    if ours["rows"] is not None:
        assert ours["rows"] == expected
    assert (ours["iterations"], ours["digest"]) == (len(expected), digest(expected))


def test_the_cases_preempt_and_cut_prompts() -> None:
    for name in BUDGETS:
        mine = [served(place) for place, case in enumerate(CASES) if case.policy == name]
        assert sum(ours["preempted"] for ours in mine) > 0
        assert sum(ours["chunked"] for ours in mine) > 0


@pytest.mark.parametrize("place", [place for place, case in enumerate(CASES) if case.whole])
def test_blocks_are_those_that_python_sends_to_the_board(place: int) -> None:
    case = CASES[place]
    ticking = [replace(event, t_start=float(i), t_end=float(i + 1)) for i, event in enumerate(events(case))]
    encoder = LaneEncoder(0, case.slots)
    for mine, some in zip(served(place)["bytes"], (ticking[:5], ticking[5:]), strict=True):
        [(header, arrays)] = read(base64.b64decode(mine))
        [(their_header, theirs)] = read(encoder.encode([(event, pieces(event)) for event in some]))
        assert header == their_header
        assert list(arrays) == list(theirs)
        for name, array in arrays.items():
            assert array.dtype == theirs[name].dtype
            assert array.tolist() == theirs[name].tolist(), name


def pieces(event: Iteration) -> dict[int, str]:
    """Slot → the text that its token adds; `tiny` writes one character a token."""
    given: Sequence[tuple[int, int]] = list(enumerate(event.token.tolist()))
    return {slot: tiny().decode([token]) for slot, token in given if token != NO_REQUEST}
