"""Checks that the policies share: a parameter, or a request, that makes no sense is answered with one sentence."""

from __future__ import annotations

import math

from cbviz.errors import PolicyError
from cbviz.policies.base import RequestView


def whole(policy: str, name: str, value: object, least: int = 1) -> None:
    """Raise PolicyError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PolicyError(f"{policy}: {name} must be a whole number of at least {least}, not {value!r}.")


def whole_or_none(policy: str, name: str, value: object, least: int = 1) -> None:
    """Raise PolicyError unless `value` is None or a whole number of at least `least`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise PolicyError(f"{policy}: {name} must be None or a whole number of at least {least}, not {value!r}.")


def flag(policy: str, name: str, value: object) -> None:
    """Raise PolicyError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise PolicyError(f"{policy}: {name} must be True or False, not {value!r}.")


def not_negative(policy: str, name: str, value: object, below: float = math.inf) -> None:
    """Raise PolicyError unless `value` is a finite number of at least 0 and below `below`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
        allowed = "a finite number of at least 0" if below == math.inf else f"a number from 0 to below {below:g}"
        raise PolicyError(f"{policy}: {name} must be {allowed}, not {value!r}.")


def within(request: RequestView, tokens: int, what: str, name: str, budget: int) -> None:
    """Raise PolicyError if a request's `tokens` exceed a budget that even an idle engine does not extend."""
    if tokens > budget:
        raise PolicyError(
            f"request {request.id} needs {tokens} tokens ({what}), but {name} is {budget}; it can never be admitted."
        )
