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


def judge_drafts(answer: Any) -> None:
    """(1 − p⁵) / (1 − p) with p = 0.8 is 3.36 (Leviathan et al., ICML 2023, equation 1): it ends at the first wrong."""
    given = number(answer)
    if abs(given - (1 - 0.8**5) / 0.2) < 0.006:
        return
    known = {4.2: "independent", 3.2: "independent, no token", 2.36: "no token", 5.0: "all", 1.41: "all or nothing"}
    raise Mistake(f"12.drafts {known.get(round(given, 2), 'other')}", given=shown(answer))


EXERCISES = (
    Exercise("12.lift", judge_lift, "12.lift right", ("12.lift hint 1", "12.lift hint 2"), 'answer = "C"'),
    Exercise("12.bytes", judge_bytes, "12.bytes right", ("12.bytes hint 1", "12.bytes hint 2"), "answer = 64"),
    Exercise(
        "12.drafts",
        judge_drafts,
        "12.drafts right",
        ("12.drafts hint 1", "12.drafts hint 2"),
        "answer = sum(0.8**i for i in range(5))",
    ),
)
