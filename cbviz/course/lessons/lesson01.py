"""Exercises of notebook 01, one token at a time."""

from __future__ import annotations

from itertools import islice
from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, called, whole_number, whole_result
from cbviz.course.plain import plain

LONGEST = 1_000
"""Tokens of a learner's list that are looked at; the right ones are far shorter."""


def judge_spell(answer: Any) -> None:
    """How many forward passes does "Spell Sacramento" take? 10 letters, 9 hyphens, END."""
    given = whole_number(answer)
    known = {10: "letters", 11: "letters and end", 19: "no end", 21: "prefill", 36: "prompt", 37: "prompt"}
    if given == 20:
        return
    raise Mistake(f"01.spell {known.get(given, 'few' if given < 20 else 'many')}", given=given)


def judge_fed(answer: Any) -> None:
    """fed(p, n): tokens that go into the model for a prompt of p and an answer of n tokens, with a KV cache."""
    for p, n in ((35, 11), (3, 2), (7, 1), (128, 40)):
        call = f"fed({p}, {n})"
        given = whole_result(called(answer, p, n, call=call), "01.fed no number", call, p=p, n=n)
        right = p + n - 1
        mistakes = {p + n: "last", n: "answer", p: "prompt", n * p + n * (n - 1) // 2: "everything", n * p: "times"}
        if given != right:
            raise Mistake(f"01.fed {mistakes.get(given, 'other')}", p=p, n=n, given=given, right=right)


def judge_loop(answer: Any) -> None:
    """write(next_token, prompt, limit, end): the loop of generation, tried on a scripted model."""
    end = 0
    for prompt, script, limit in (([5, 6, 7], [8, 9, 3, end], 10), ([4], [8, 7, 6, 5, end], 3), ([4, 4], [end], 5)):
        _judge_one_answer(answer, prompt, script, limit, end)


def _judge_one_answer(write: Any, prompt: list[int], script: list[int], limit: int, end: int) -> None:
    right = script[:limit]
    passes = 0

    def next_token(tokens: Any) -> int:
        nonlocal passes
        passes += 1
        if passes > len(right):
            if right[-1] == end:
                raise Mistake("01.loop end ignored")
            raise Mistake("01.loop limit ignored", limit=limit)
        known = [*prompt, *script[: passes - 1]]
        fed = _first(tokens, LONGEST)
        if fed != known:
            raise Mistake("01.loop input", number=passes, given=len(fed), right=len(known))
        return script[passes - 1]

    call = f"write(next_token, {prompt}, {limit}, {end})"
    given = called(write, next_token, list(prompt), limit, end, call=call)
    if given is None:
        raise Mistake("01.loop nothing")
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise Mistake("01.loop no list", given=shown(given))
    given = called(_first, given, LONGEST, call=call)  # a generator runs the learner's code only now
    if given == right:
        return
    if given == [*prompt, *right]:
        raise Mistake("01.loop prompt returned")
    if given == right[:-1] and right[-1] == end:
        raise Mistake("01.loop end missing")
    if given == right[: len(given)]:
        raise Mistake("01.loop short", given=len(given), limit=limit, right=len(right))
    raise Mistake("01.loop other", given=shown(given), right=right)


def _first(values: Any, most: int) -> list[Any]:
    """What a learner's list or iterator gives, as far as it is looked at: it may have no end that Python could stop."""
    return [plain(value) for value in islice(values, most)]


EXERCISES = (
    Exercise("01.spell", judge_spell, "01.spell right", ("01.spell hint 1", "01.spell hint 2"), "answer = 20"),
    Exercise(
        "01.fed",
        judge_fed,
        "01.fed right",
        ("01.fed hint 1", "01.fed hint 2"),
        "def fed(p, n):\n    return p + n - 1\n\nanswer = fed",
    ),
    Exercise(
        "01.loop",
        judge_loop,
        "01.loop right",
        ("01.loop hint 1", "01.loop hint 2"),
        """def write(next_token, prompt, limit, end):
    known = list(prompt)
    while True:
        known.append(next_token(known))
        if known[-1] == end or len(known) == len(prompt) + limit:
            return known[len(prompt):]

answer = write""",
    ),
)
