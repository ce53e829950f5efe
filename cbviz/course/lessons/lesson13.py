"""Exercises of notebook 13, their engines, your knobs."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, called, picked, whole_number

OWNER = (0, 0, 0, 1, 2, 2)
POSITION = (4, 5, 6, 9, 0, 1)
"""Two chunks of prompts and a decode, packed."""


def judge_budget(answer: Any) -> None:
    """A budget of 2,048, 200 decodes: 1,848 are left for the prompt."""
    given = whole_number(answer)
    if given == 1848:
        return
    known = {3000: "whole", 2048: "decodes", 56: "slots", 8192: "longest", 1152: "rest", 0: "waits", 2800: "wrong pool"}
    raise Mistake(f"13.budget {known.get(given, 'other')}", given=given)


def judge_mask(answer: Any) -> None:
    """sees(i, j, owner, position): the same request, and not later."""
    size = range(len(OWNER))
    for i, j in ((i, j) for i in size for j in size):
        call = f"sees({i}, {j}, {list(OWNER)}, {list(POSITION)})"
        given = called(answer, i, j, list(OWNER), list(POSITION), call=call)
        if not isinstance(given, bool | int) or given not in (0, 1):
            raise Mistake("13.mask no answer", given=shown(given), call=call)
        right = OWNER[i] == OWNER[j] and POSITION[j] <= POSITION[i]
        if bool(given) == right:
            continue
        if OWNER[i] != OWNER[j]:
            raise Mistake("13.mask neighbour", i=i, j=j)
        if POSITION[j] > POSITION[i]:
            raise Mistake("13.mask later", i=i, j=j)
        raise Mistake("13.mask itself" if i == j else "13.mask earlier", i=i, j=j)


def judge_wait(answer: Any) -> None:
    """64 run of max-num-seqs 64, and neither memory nor the token budget is used up: C."""
    picked(answer, "C", {"A": "13.wait memory", "B": "13.wait budget", "D": "13.wait blocks"})


EXERCISES = (
    Exercise("13.budget", judge_budget, "13.budget right", ("13.budget hint 1", "13.budget hint 2"), "answer = 1848"),
    Exercise(
        "13.mask",
        judge_mask,
        "13.mask right",
        ("13.mask hint 1", "13.mask hint 2"),
        """def sees(i, j, owner, position):
    return owner[i] == owner[j] and position[j] <= position[i]

answer = sees""",
    ),
    Exercise("13.wait", judge_wait, "13.wait right", ("13.wait hint 1", "13.wait hint 2"), 'answer = "C"'),
)
