"""Exercises of notebook 05, continuous batching."""

from __future__ import annotations

import heapq
from typing import Any

from cbviz.course.judging import Exercise, Mistake, called, picked, whole_number, whole_result


def judge_hand(answer: Any) -> None:
    """Lengths 5, 1, 2, 4, 3 on two slots: how many iterations does continuous batching take? 8."""
    given = whole_number(answer)
    known = {12: "static", 15: "sum", 7: "perfect", 9: "late", 10: "late"}
    if given == 8:
        return
    raise Mistake(f"05.hand {known.get(given, 'other')}", given=given)


def judge_count(answer: Any) -> None:
    """iterations(lengths, slots): what continuous batching takes."""
    for lengths, slots in (([9, 7, 6, 8, 12, 1], 2), ([3, 6, 2, 3, 3, 2, 2], 4), ([7], 4), ([4, 4, 4, 4, 4], 2)):
        call = f"iterations({lengths}, {slots})"
        given = whole_result(
            called(answer, list(lengths), slots, call=call), "05.count no number", call, lengths=lengths, slots=slots
        )
        right = _listed(lengths, slots)
        if given == right:
            continue
        mistakes = {
            _listed(sorted(lengths), slots): "sorted",
            _listed(sorted(lengths, reverse=True), slots): "sorted",
            max(max(lengths), -(-sum(lengths) // slots)): "perfect",
            -(-sum(lengths) // slots): "perfect",
            max(sum(lengths[i::slots]) for i in range(slots)): "robin",
            sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots)): "static",
            sum(lengths): "sum",
        }
        key = mistakes.get(given, "other")
        raise Mistake(f"05.count {key}", lengths=lengths, slots=slots, given=given, right=right)


def _listed(lengths: list[int], slots: int) -> int:
    free = [0] * slots
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def judge_when(answer: Any) -> None:
    """Where does continuous batching help? Only where lengths differ and requests wait: C."""
    picked(answer, "C", {"A": "05.when equal", "B": "05.when low", "D": "05.when one"})


EXERCISES = (
    Exercise("05.hand", judge_hand, "05.hand right", ("05.hand hint 1", "05.hand hint 2"), "answer = 8"),
    Exercise(
        "05.count",
        judge_count,
        "05.count right",
        ("05.count hint 1", "05.count hint 2"),
        """def iterations(lengths, slots):
    free = [0] * slots
    for length in lengths:
        first = free.index(min(free))
        free[first] += length
    return max(free)

answer = iterations""",
    ),
    Exercise("05.when", judge_when, "05.when right", ("05.when hint 1", "05.when hint 2"), 'answer = "C"'),
)
