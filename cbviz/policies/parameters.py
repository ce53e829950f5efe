"""Checks that the policies share: a parameter, or a request, that makes no sense is answered with one sentence.

The first four look at an attribute of a policy, put the plain value in its place, and raise PolicyError.
"""

from __future__ import annotations

from typing import Any

from cbviz.checks import flag as checked_flag
from cbviz.checks import is_number, shown
from cbviz.checks import whole as checked_whole
from cbviz.errors import PolicyError
from cbviz.policies.base import RequestView


def whole(policy: Any, name: str, least: int = 1) -> None:
    """The attribute must be a whole number of at least `least`."""
    plain = checked_whole(f"{policy.name}: {name}", getattr(policy, name), least, error=PolicyError)
    object.__setattr__(policy, name, plain)


def whole_or_none(policy: Any, name: str, least: int = 1) -> None:
    """The attribute must be None or a whole number of at least `least`."""
    value = getattr(policy, name)
    if value is not None:
        plain = checked_whole(f"{policy.name}: {name}", value, least, or_none=True, error=PolicyError)
        object.__setattr__(policy, name, plain)


def flag(policy: Any, name: str) -> None:
    """The attribute must be True or False."""
    checked_flag(f"{policy.name}: {name}", getattr(policy, name), error=PolicyError)


def not_negative(policy: Any, name: str, below: float | None = None) -> None:
    """The attribute must be a finite number of at least 0, and below `below` if there is such a bound.

    It stays the `int` or `float` that it was: a policy's parameters are written into the trace.
    """
    value = getattr(policy, name)
    if not is_number(value) or not value >= 0 or (below is not None and value >= below):
        allowed = "a finite number of at least 0" if below is None else f"a number from 0 to below {below:g}"
        raise PolicyError(f"{policy.name}: {name} must be {allowed}, not {shown(value)}.")


def within(request: RequestView, tokens: int, what: str, name: str, budget: int) -> None:
    """Raise PolicyError if a request's `tokens` exceed a budget that even an idle engine does not extend."""
    if tokens > budget:
        raise PolicyError(
            f"request {request.id} needs {tokens} tokens ({what}), but {name} is {budget}; it can never be admitted."
        )
