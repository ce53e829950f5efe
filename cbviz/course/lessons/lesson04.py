"""Exercises of notebook 04, static batching."""

from __future__ import annotations

from typing import Any

from cbviz.checks import is_whole, shown
from cbviz.course.judging import Exercise, Mistake, called, number, whole_result
from cbviz.measure.rounding import percent


def judge_share(answer: Any) -> None:
    """Three requests of 10, 20 and 60 tokens on three slots: which share of the slot-iterations is wasted?"""
    given = number(answer)
    shown = f"{given:g}"
    if abs(given - 0.5) < 0.005:
        return
    if given in (90, 180):
        raise Mistake("04.share count", given=shown)
    if 10 <= given <= 100:
        raise Mistake("04.share percent", given=shown)
    if 1 < given < 10 and abs(given - 90 / 60) > 0.005:
        raise Mistake("04.share inverse", given=shown)
    if min(abs(given - part) for part in (50 / 180, 50 / 60, 10 / 60)) < 0.005:
        raise Mistake("04.share one slot", given=shown)
    if abs(given - 2 / 3) < 0.01:
        raise Mistake("04.share requests", given=shown)
    if min(abs(given - part) for part in (90 / 60, 60 / 90, 1.0, 0.0)) < 0.005:
        raise Mistake("04.share useful only", given=shown)
    raise Mistake("04.share other", given=shown)


def judge_count(answer: Any) -> None:
    """iterations(lengths, slots): what static batching takes."""
    for lengths, slots in (([20, 30, 10, 40, 5], 2), ([3, 6, 2, 3, 3, 2, 2], 4), ([5, 1, 9, 2, 8], 2), ([7], 4)):
        call = f"iterations({lengths}, {slots})"
        given = whole_result(
            called(answer, list(lengths), slots, call=call), "04.count no number", call, lengths=lengths, slots=slots
        )
        batches = [lengths[i : i + slots] for i in range(0, len(lengths), slots)]
        right = sum(map(max, batches))
        if given == right:
            continue
        rising = sorted(lengths)
        mistakes = {
            -(-sum(lengths) // slots): "perfect",
            sum(max(rising[i : i + slots]) for i in range(0, len(rising), slots)): "sorted",
            sum(max(rising[::-1][i : i + slots]) for i in range(0, len(rising), slots)): "sorted",
            sum(max(batch) for batch in batches if len(batch) == slots): "last batch",
            max(lengths) * len(batches): "every batch longest",
            max(lengths): "longest",
            sum(lengths): "sum",
        }
        key = mistakes.get(given, "other")
        raise Mistake(f"04.count {key}", lengths=lengths, slots=slots, given=given, right=right)


def judge_worst(answer: Any) -> tuple[str, dict[str, Any]]:
    """Four lengths from 1 to 100 that make static batching on four slots waste as much as it can."""
    if not isinstance(answer, list | tuple) or len(answer) != 4:
        raise Mistake("04.worst not four", given=shown(answer))
    for length in answer:
        if not is_whole(length) or not 1 <= length <= 100:
            raise Mistake("04.worst range", given=shown(length))
    longest = max(answer)
    share = percent(1 - sum(answer) / (4 * longest), 1)
    if sorted(answer) == [1, 1, 1, 100]:
        return "04.worst right", {"share": share}
    if len(set(answer)) == 1:
        raise Mistake("04.worst equal")
    if longest < 100:
        raise Mistake("04.worst not longest", share=share)
    key = "two long" if sum(length > longest / 2 for length in answer) > 1 else "not shortest"
    raise Mistake(f"04.worst {key}", share=share)


EXERCISES = (
    Exercise(
        "04.share",
        judge_share,
        "04.share right",
        ("04.share hint 1", "04.share hint 2"),
        "answer = 1 - (10 + 20 + 60) / (3 * 60)",
    ),
    Exercise(
        "04.count",
        judge_count,
        "04.count right",
        ("04.count hint 1", "04.count hint 2"),
        """def iterations(lengths, slots):
    return sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots))

answer = iterations""",
    ),
    Exercise(
        "04.worst",
        judge_worst,
        "04.worst right",
        ("04.worst hint 1", "04.worst hint 2"),
        "answer = [1, 1, 1, 100]",
    ),
)
