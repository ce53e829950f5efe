"""What the values of options may be: functions from text to value, for argparse."""

from __future__ import annotations

import argparse
from typing import Any

from cbviz.config import MOST_DRAFTS

HIGHEST_PRICE = 1e9
"""Dollars an hour: no machine costs so much."""


def between(least: int, most: int) -> Any:
    """An argparse type: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            number = int(text) if len(text) < 100 else most + 1
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r:.80}")
        if number > most:
            raise argparse.ArgumentTypeError(f"must be a whole number of at most {most:,}, not {text!r:.80}")
        return number

    return parse


def above_zero(text: str) -> float:
    """An argparse type: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r:.80}")
    return number


def price(text: str) -> float:
    """An argparse type: dollars, above 0 and up to `HIGHEST_PRICE`."""
    dollars = above_zero(text)
    if dollars > HIGHEST_PRICE:
        raise argparse.ArgumentTypeError(f"must be a number of at most {HIGHEST_PRICE:,.0f}, not {text!r:.80}")
    return dollars


def names(text: str) -> tuple[str, ...]:
    """An argparse type: names with commas between them."""
    listed = tuple(name.strip() for name in text.split(","))
    if not all(listed):
        raise argparse.ArgumentTypeError(
            f"must be names with commas between them, such as static,continuous, not {text!r}"
        )
    return listed


def drafts(text: str) -> tuple[int, ...]:
    """An argparse type: how many tokens to draft, one number or one for each lane."""
    return tuple(map(between(0, MOST_DRAFTS), text.split(",")))


def compared(text: str) -> str:
    """An argparse type: what the lanes are ranked by."""
    from cbviz.measure.standings import COMPARED  # numpy, which `--help` does not need

    if text not in COMPARED:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(COMPARED)}, not {text!r:.80}")
    return text
