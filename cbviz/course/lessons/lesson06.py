"""Exercises of notebook 06, prefill gets in the way."""

from __future__ import annotations

from typing import Any

from cbviz.course.judging import Exercise, Mistake, called, picked, whole_number, whole_result


def judge_ratio(answer: Any) -> None:
    """Ratio 1.2, ten run, seven wait, five decodes passed of twenty: how many more must come? ⌊12⌋ - 7 = 5."""
    given = whole_number(answer)
    if given == 5:
        return
    known = {12: "all", 3: "slots", 0: "now", 6: "strict", 15: "decodes", 2: "weight", 1: "weight", 8: "weight"}
    raise Mistake(f"06.ratio {known.get(given, 'other')}", given=given)


def judge_passes(answer: Any) -> None:
    """passes(prompt, budget, decoding): how many passes read a prompt beside `decoding` requests that decode."""
    for prompt, budget, decoding in (
        (639, 64, 20),
        (300, 64, 6),
        (232, 64, 6),
        (100, 512, 40),
        (58, 64, 6),
        (900, 128, 64),
    ):
        asked = {"prompt": prompt, "budget": budget, "decoding": decoding}
        call = f"passes({prompt}, {budget}, {decoding})"
        given = whole_result(called(answer, prompt, budget, decoding, call=call), "06.passes no number", call, **asked)
        room = budget - decoding
        right = -(-prompt // room)
        if given == right:
            continue
        mistakes = {
            -(-(prompt + decoding) // budget): "once",
            prompt // room + 1: "plus",
            prompt // room: "down",
            -(-prompt // budget): "alone",
            prompt // budget: "alone",
        }
        raise Mistake(f"06.passes {mistakes.get(given, 'other')}", given=given, right=right, **asked)


def judge_cure(answer: Any) -> None:
    """What helps if text stops whenever a user pastes a long document? Chunked prefill: D."""
    picked(answer, "D", {"A": "06.cure ratio", "B": "06.cure slots", "C": "06.cure memory"})


EXERCISES = (
    Exercise("06.ratio", judge_ratio, "06.ratio right", ("06.ratio hint 1", "06.ratio hint 2"), "answer = 5"),
    Exercise(
        "06.passes",
        judge_passes,
        "06.passes right",
        ("06.passes hint 1", "06.passes hint 2"),
        """def passes(prompt, budget, decoding):
    return -(-prompt // (budget - decoding))

answer = passes""",
    ),
    Exercise("06.cure", judge_cure, "06.cure right", ("06.cure hint 1", "06.cure hint 2"), 'answer = "D"'),
)
