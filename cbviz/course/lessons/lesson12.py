"""Exercises of notebook 12, newer rules for the same slots."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.judging import Exercise, Mistake, number, picked


def judge_lift(answer: Any) -> None:
    """A returning client is lifted to the least counter in the queue, so both are served in turns from then on: C."""
    picked(answer, "C", {"A": "12.lift credit", "B": "12.lift order", "D": "12.lift catching up"})


def judge_bytes(answer: Any) -> None:
    """2 (keys and values) × 32 layers × 8 heads × 128 numbers × 2 bytes × 512 tokens = 64 MiB."""
    given = number(answer)
    if abs(given - 64) < 1e-9:
        return
    known = {32.0: "keys alone", 0.125: "one token", 67.108864: "megabytes", 256.0: "all heads", 2.0: "one layer"}
    raise Mistake(f"12.bytes {known.get(round(given, 9), 'other')}", given=shown(answer))


EXERCISES = (
    Exercise("12.lift", judge_lift, "12.lift right", ("12.lift hint 1", "12.lift hint 2"), 'answer = "C"'),
    Exercise("12.bytes", judge_bytes, "12.bytes right", ("12.bytes hint 1", "12.bytes hint 2"), "answer = 64"),
)
