"""Checks that the laws share: each answers nonsense with one sentence."""

from __future__ import annotations

import math
import random

from cbviz.errors import WorkloadError


def whole(name: str, value: object, least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `least`; raise WorkloadError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WorkloadError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value


def positive(name: str, value: object) -> float:
    """Return `value` if it is a finite number above 0; raise WorkloadError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise WorkloadError(f"{name} must be a finite number above 0, not {value!r}.")
    return float(value)


def not_negative(name: str, value: object) -> float:
    """Return `value` if it is a finite number of at least 0; raise WorkloadError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value >= 0):
        raise WorkloadError(f"{name} must be a finite number of at least 0, not {value!r}.")
    return float(value)


def generator(value: object) -> random.Random:
    """Return `value` if it is a `random.Random`; raise WorkloadError otherwise."""
    if not isinstance(value, random.Random):
        raise WorkloadError(f"draws need a random.Random, such as random.Random(0), not {value!r}.")
    return value
