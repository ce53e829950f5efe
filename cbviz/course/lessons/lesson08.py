"""Exercises of notebook 08, sharing and giving back."""

from __future__ import annotations

from typing import Any

from cbviz.course.judging import Exercise, Mistake, called, whole_number, whole_result


def judge_again(answer: Any) -> None:
    """Prompt 20, 30 written, preempted: how many tokens in the pass that brings it back? 50."""
    given = whole_number(answer)
    if given == 50:
        return
    known = {20: "prompt", 30: "written", 49: "cached", 51: "next", 1: "swap", 0: "swap"}
    raise Mistake(f"08.again {known.get(given, 'other')}", given=given)


CASES: tuple[tuple[list[list[int]], list[int], int], ...] = (
    ([[1, 2, 3, 4, 5, 6, 7]], [1, 2, 3, 4, 5, 6, 9], 4),
    ([[9, 9, 9, 9, 5, 6, 7, 8]], [1, 2, 3, 4, 5, 6, 7, 8, 9], 4),
    ([[1, 2, 3, 4]], [1, 2, 3, 4], 2),
    ([[1, 2, 8, 8, 8, 8], [1, 2, 3, 4, 5, 6]], [1, 2, 3, 4, 5, 7], 2),
    ([], [1, 2, 3], 2),
    ([[9] * 6, [1, 2, 3, 4, 5, 6, 8], [1, 2, 3, 9, 9, 9]], [1, 2, 3, 4, 5, 6, 7], 3),
    ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 9, 9]], [1, 2, 3, 4, 5, 6, 7], 3),
    ([[1, 2, 3, 4, 5]], [1, 2, 3, 4, 5], 2),
    ([[1, 2, 3, 4, 5, 6, 7]], [1, 2, 3, 4], 2),
    ([[1, 2, 3, 4, 5, 6, 7]], [1, 2, 3, 4, 5], 2),
    ([[1, 2, 3]], [1, 2, 3, 4, 5, 6, 7], 2),
)
"""Cached prompts, a new prompt, and the size of a block.

The best of the cached prompts is the only one, the first, the last or one in the middle. A prompt that is cached from
beginning to end fills its blocks or does not, and what is cached is as long, longer or shorter.
"""


def judge_found(answer: Any) -> None:
    """found(cached, prompt, block): tokens that a prefix cache finds."""
    for cached, prompt, block in CASES:
        call = f"found({cached}, {prompt}, {block})"
        cache = [list(one) for one in cached]
        given = whole_result(called(answer, cache, list(prompt), block, call=call), "08.found no number", call)
        right = max((_whole(_common(one, prompt[:-1]), block) for one in cached), default=0)
        if given == right:
            continue
        mistakes = {
            max((_anywhere(one, prompt, block) for one in cached), default=-1): "chain",
            right // block: "blocks",
            max((_whole(_common(one, prompt), block) - block for one in cached), default=-1): "block less",
            _whole(_common(cached[-1], prompt[:-1]), block) if cached else -1: "last prompt",
            _whole(_common(cached[0], prompt[:-1]), block) if cached else -1: "first",
            max((_common(one, prompt) for one in cached), default=-1): "whole",
            max((_common(one, prompt[:-1]) for one in cached), default=-1): "whole",
            max((_whole(_common(one, prompt), block) for one in cached), default=-1): "last",
        }
        raise Mistake(f"08.found {mistakes.get(given, 'other')}", call=call, given=given, right=right)


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common prefix."""
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return n


def _whole(tokens: int, block: int) -> int:
    return tokens // block * block


def _anywhere(one: list[int], other: list[int], block: int) -> int:
    """Tokens in equal blocks at the same place, whatever comes before them."""
    starts = range(0, min(len(one), len(other)) - block + 1, block)
    return sum(block for at in starts if one[at : at + block] == other[at : at + block])


EXERCISES = (
    Exercise("08.again", judge_again, "08.again right", ("08.again hint 1", "08.again hint 2"), "answer = 50"),
    Exercise(
        "08.found",
        judge_found,
        "08.found right",
        ("08.found hint 1", "08.found hint 2"),
        """def found(cached, prompt, block):
    most = 0
    for one in cached:
        n = 0
        while n < min(len(one), len(prompt) - 1) and one[n] == prompt[n]:
            n += 1
        most = max(most, n // block * block)
    return most

answer = found""",
    ),
)
