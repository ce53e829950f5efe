"""Exercises of notebook 07, paging."""

from __future__ import annotations

from typing import Any

from cbviz.course.judging import Exercise, Mistake, called, picked, whole_number, whole_result


def judge_blocks(answer: Any) -> None:
    """Prompt 50, answer 31 tokens, blocks of 16: how many blocks at the end? 5."""
    given = whole_number(answer)
    known = {2: "answer", 4: "prompt", 80: "positions", 81: "positions"}
    if given == 5:
        return
    raise Mistake(f"07.blocks {'last' if given == 6 else known.get(given, 'other')}", given=given)


def judge_waste(answer: Any) -> None:
    """waste(positions, block_size): places of the last block that stay empty."""
    for positions, size in ((37, 16), (80, 16), (1, 4), (9, 1), (100, 384)):
        call, asked = f"waste({positions}, {size})", {"positions": positions, "size": size}
        given = whole_result(called(answer, positions, size, call=call), "07.waste no number", call, **asked)
        right = -(-positions // size) * size - positions
        if given == right:
            continue
        known = {positions % size: "filled", size: "full", -(-positions // size): "blocks"}
        key = "negative" if given < 0 else known.get(given, "other")
        raise Mistake(f"07.waste {key}", given=given, right=right, **asked)


def judge_scheme(answer: Any) -> None:
    """With which block size is paging the same as reserving the maximum? C: as long as the longest request."""
    picked(answer, "C", {"A": "07.scheme small", "B": "07.scheme usual", "D": "07.scheme never"})


EXERCISES = (
    Exercise(
        "07.blocks",
        judge_blocks,
        "07.blocks right",
        ("07.blocks hint 1", "07.blocks hint 2"),
        "answer = -(-(50 + 31 - 1) // 16)",
    ),
    Exercise(
        "07.waste",
        judge_waste,
        "07.waste right",
        ("07.waste hint 1", "07.waste hint 2"),
        """def waste(positions, block_size):
    return -(-positions // block_size) * block_size - positions

answer = waste""",
    ),
    Exercise("07.scheme", judge_scheme, "07.scheme right", ("07.scheme hint 1", "07.scheme hint 2"), 'answer = "C"'),
)
