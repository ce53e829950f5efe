"""Exercises of notebook 09, what the 23× are made of."""

from __future__ import annotations

import itertools
from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, called, number, picked, real_results, rounded


def judge_rest(answer: Any) -> None:
    """Factors multiply: 24 / 4 = 6 are left for all the rest."""
    given = number(answer)
    if abs(given - 6) < 1e-9:
        return
    known = {20.0: "subtracted", 96.0: "multiplied", 4.0: "padding", 24.0: "all"}
    mistake = "upside down" if abs(given - 1 / 6) < 1e-3 else known.get(round(given, 9), "other")
    raise Mistake(f"09.rest {mistake}", given=shown(answer))


def judge_factors(answer: Any) -> None:
    """factors(rates): each rate over the one before it."""
    for rates in ([10, 40, 80], [8, 8, 4], [5, 50], [81, 325, 648, 2311]):
        call = f"factors({rates})"
        given = real_results(called(answer, list(rates), call=call), "09.factors no list", call)
        right = [b / a for a, b in itertools.pairwise(rates)]
        if same(given, right):
            continue
        mistakes: dict[str, list[float]] = {
            "first": [1.0, *right],
            "total": [b / rates[0] for b in rates[1:]],
            "difference": [b - a for a, b in itertools.pairwise(rates)],
            "upside down": [1 / value for value in right],
        }
        near = (name for name, wrong in mistakes.items() if same(given, wrong))
        mistake = next(near, "other")
        if mistake == "other" and len(given) == len(right) and all(map(rounded, given, right)):
            raise Mistake("rounded", call=call, given=shown(given))
        wanted = "[" + ", ".join(f"{value:.3g}" for value in right) + "]"
        raise Mistake(f"09.factors {mistake}", call=call, given=shown(given), right=wanted)


def same(given: Any, right: list[float]) -> bool:
    """Whether two lists hold the same numbers, up to rounding."""
    return len(given) == len(right) and all(
        abs(a - b) <= 1e-6 * max(1.0, abs(b)) for a, b in zip(given, right, strict=True)
    )


def judge_credit(answer: Any) -> None:
    """A factor depends on what came before it, so kernels alone have no one number: D."""
    picked(answer, "D", {"A": "09.credit last", "B": "09.credit first", "C": "09.credit mean"})


EXERCISES = (
    Exercise("09.rest", judge_rest, "09.rest right", ("09.rest hint 1", "09.rest hint 2"), "answer = 24 / 4"),
    Exercise(
        "09.factors",
        judge_factors,
        "09.factors right",
        ("09.factors hint 1", "09.factors hint 2"),
        """def factors(rates):
    return [after / before for before, after in zip(rates, rates[1:])]

answer = factors""",
    ),
    Exercise("09.credit", judge_credit, "09.credit right", ("09.credit hint 1", "09.credit hint 2"), 'answer = "D"'),
)
