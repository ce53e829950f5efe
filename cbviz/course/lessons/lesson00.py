"""Exercises of notebook 00, watch it."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, picked


def judge_groups(answer: Any) -> None:
    """Which built-in policy takes as many iterations as InGroups(1), which as InGroups(8)?"""
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise Mistake("00.groups no pair", given=shown(answer))
    for name in answer:
        if name not in ("static", "continuous"):
            raise Mistake("00.groups unknown", given=shown(name))
    one, eight = answer
    if (one, eight) == ("continuous", "static"):
        return
    if (one, eight) == ("static", "continuous"):
        raise Mistake("00.groups swapped")
    raise Mistake("00.groups one" if eight == "static" else "00.groups eight")


def judge_win(answer: Any) -> None:
    """Where is there nothing to win? Only where no request waits: D."""
    picked(answer, "D", {"A": "00.win mixed", "B": "00.win fewer slots", "C": "00.win more"})


EXERCISES = (
    Exercise(
        "00.groups",
        judge_groups,
        "00.groups right",
        ("00.groups hint 1", "00.groups hint 2"),
        'answer = ("continuous", "static")',
    ),
    Exercise("00.win", judge_win, "00.win right", ("00.win hint 1", "00.win hint 2"), 'answer = "D"'),
)
