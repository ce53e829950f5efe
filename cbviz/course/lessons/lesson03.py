"""Exercises of notebook 03, what fits."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, called, picked, real_result, whole_number


def judge_fits(answer: Any) -> None:
    """24 GB, weights 16 GB, 128 KiB a token: how many sequences of 4,096 tokens fit? 14."""
    given = whole_number(answer)
    known = {44: "weights", 45: "weights", 15: "rounded", 29: "keys", 30: "keys"}
    if given == 14:
        return
    if given >= 1000:
        raise Mistake("03.fits tokens", given=f"{given:,}")
    raise Mistake(f"03.fits {known.get(given, 'few' if given < 14 else 'many')}", given=given)


def judge_kv(answer: Any) -> None:
    """kv_bytes(layers, kv_heads, head_size, bytes_per_number)."""
    for layers, heads, size, each in ((32, 6, 128, 8), (40, 40, 128, 2), (5, 3, 7, 1)):
        arguments = f"({layers}, {heads}, {size}, {each})"
        call = f"kv_bytes{arguments}"
        given = called(answer, layers, heads, size, each, call=call)
        right = 2 * layers * heads * size * each
        value = real_result(given, "03.kv no number", call, arguments=arguments)
        if value == right:
            continue
        mistakes = {
            2 * layers * heads * size: "values",
            2 * layers * heads * size * 2: "two bytes",
            2 * heads * size * each: "one layer",
            2 * layers * size * each: "one head",
            right / 2: "half",
        }
        key = mistakes.get(value, "other")
        raise Mistake(f"03.kv {key}", arguments=arguments, given=shown(given), right=right, heads=heads, size=each)


def judge_int8(answer: Any) -> None:
    """What do int8 weights change? B: more tokens fit, each as large as before."""
    picked(answer, "B", {"A": "03.int8 kv", "C": "03.int8 nothing", "D": "03.int8 longer"})


EXERCISES = (
    Exercise(
        "03.fits",
        judge_fits,
        "03.fits right",
        ("03.fits hint 1", "03.fits hint 2"),
        "answer = int((24e9 - 16e9) // (128 * 1024 * 4096))",
    ),
    Exercise(
        "03.kv",
        judge_kv,
        "03.kv right",
        ("03.kv hint 1", "03.kv hint 2"),
        """def kv_bytes(layers, kv_heads, head_size, bytes_per_number):
    return 2 * layers * kv_heads * head_size * bytes_per_number

answer = kv_bytes""",
    ),
    Exercise("03.int8", judge_int8, "03.int8 right", ("03.int8 hint 1", "03.int8 hint 2"), 'answer = "B"'),
)
