"""Exercises of notebook 02, why decode is slow."""

from __future__ import annotations

from typing import Any

from cbviz.course.judging import Exercise, Mistake, number, whole_number

# One card for the arithmetic of both exercises: the A100 with 40 GB (NVIDIA's data sheet: PCIe, 16 bits, dense).
BANDWIDTH, FLOPS = 1.555e12, 312e12


def judge_floor(answer: Any) -> None:
    """13B weights in 16 bits at 1.555 TB/s: the fewest milliseconds of a pass, 16.7."""
    given = number(answer)
    mistakes = {
        0.01672: "seconds",
        59.8: "rate",
        8.36: "one byte",
        33.44: "four bytes",
        16720.0: "thousand",
    }
    if abs(given / (1000 * 13e9 * 2 / BANDWIDTH) - 1) < 0.03:
        return
    for value, key in mistakes.items():
        if abs(given / value - 1) < 0.03:
            raise Mistake(f"02.floor {key}", given=f"{given:g}")
    raise Mistake("02.floor other", given=f"{given:g}")


def judge_reads(answer: Any) -> None:
    """100 answers of 50 tokens, ten at a time: how often are the weights read? 500 times."""
    given = whole_number(answer)
    known = {5000: "token", 100: "request", 1: "once", 50: "together", 10: "batch"}
    if given != 500:
        raise Mistake(f"02.reads {known.get(given, 'other')}", given=given)


def judge_knee(answer: Any) -> None:
    """312 TFLOP/s, 1.555 TB/s, 16-bit weights: at how many rows does computing take as long as reading? 200."""
    given = number(answer)
    if abs(given / (FLOPS / BANDWIDTH) - 1) < 0.03:
        return
    for value, key in {401.3: "two", 100.3: "bytes", 0.00498: "inverse"}.items():
        if abs(given / value - 1) < 0.03:
            raise Mistake(f"02.knee {key}", given=f"{given:g}")
    raise Mistake("02.knee other", given=f"{given:g}")


EXERCISES = (
    Exercise(
        "02.floor",
        judge_floor,
        "02.floor right",
        ("02.floor hint 1", "02.floor hint 2"),
        "answer = 13e9 * 2 / 1.555e12 * 1000",
    ),
    Exercise(
        "02.reads",
        judge_reads,
        "02.reads right",
        ("02.reads hint 1", "02.reads hint 2"),
        "answer = (100 // 10) * 50",
    ),
    Exercise(
        "02.knee",
        judge_knee,
        "02.knee right",
        ("02.knee hint 1", "02.knee hint 2"),
        "answer = 312e12 / 1.555e12",
    ),
)
