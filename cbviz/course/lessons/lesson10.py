"""Exercises of notebook 10, under load."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, called, number, picked, real_result, rounded


def judge_little(answer: Any) -> None:
    """40 in the system, 2.5 s each: λ = L / W = 16 a second."""
    given = number(answer)
    if abs(given - 16) < 1e-9:
        return
    known = {100.0: "product", 0.0625: "inverse", 40.0: "in system", 2.5: "seconds", 37.5: "difference"}
    raise Mistake(f"10.little {known.get(round(given, 9), 'other')}", given=shown(answer))


def judge_price(answer: Any) -> None:
    """price_of_million(dollars, rate, tokens): dollars / (rate × tokens × 3,600) × 10⁶."""
    for dollars, rate, tokens in ((3.0, 24, 128), (2.5, 10, 100), (1.2, 0.5, 64), (0.0, 5, 10), (4.0, 100, 1)):
        asked = {"dollars": dollars, "rate": rate, "tokens": tokens}
        call = f"price_of_million({dollars}, {rate}, {tokens})"
        given = called(answer, dollars, rate, tokens, call=call)
        right = dollars / (rate * tokens * 3600) * 1e6
        value = real_result(given, "10.price no number", call, **asked)
        if abs(value - right) <= 1e-6 * right:
            continue
        mistakes = {
            "second": right * 3600,
            "request": right * tokens,
            "token": right / 1e6,
            "minute": right * 60,
            "upside down": 1 / right if right else right,
        }
        near = (name for name, wrong in mistakes.items() if wrong and abs(value - wrong) <= 1e-6 * abs(wrong))
        mistake = next(near, "other")
        if mistake == "other" and rounded(value, right):
            raise Mistake("rounded", call=call, given=shown(given))
        raise Mistake(f"10.price {mistake}", given=f"{value:g}", right=f"{right:.4g}", **asked)


def judge_loop(answer: Any) -> None:
    """40 a second come to a server that completes 30: the queue, and with it the p99, grows without end: C."""
    picked(answer, "C", {"A": "10.loop same", "B": "10.loop scaled", "D": "10.loop lower"})


EXERCISES = (
    Exercise("10.little", judge_little, "10.little right", ("10.little hint 1", "10.little hint 2"), "answer = 16"),
    Exercise(
        "10.price",
        judge_price,
        "10.price right",
        ("10.price hint 1", "10.price hint 2"),
        """def price_of_million(dollars, rate, tokens):
    return dollars / (rate * tokens * 3600) * 1e6

answer = price_of_million""",
    ),
    Exercise("10.loop", judge_loop, "10.loop right", ("10.loop hint 1", "10.loop hint 2"), 'answer = "C"'),
)
