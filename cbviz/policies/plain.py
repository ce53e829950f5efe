"""A plan in plain Python, whatever types a policy wrote it with.

A list may be any iterable of ids, a number may be numpy's, text may be a subclass of `str`. This module reads every
field once and turns it into tuples, dicts, `int`, `float` and `str` of our own; a field that it cannot read is refused
by name. `cbviz.policies.check`, which decides whether the plan is legal, comes here only with a plan that is not plain
Python already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CoroutineType
from typing import Any, TypeVar

from cbviz.checks import PASSING, as_float, as_int, kind_of
from cbviz.errors import PolicyError
from cbviz.limits import LONGEST_SECONDS
from cbviz.policies.plan import Admit, CheckedPlan, Plan
from cbviz.policies.policy_view import RequestView
from cbviz.policies.values import LONGEST_TEXT, said, shown, text
from cbviz.reason import Reason

Value = TypeVar("Value")

MOST_ENTRIES = 100_000
"""The most entries of one field: more than an engine has slots. Iterators that never end are refused here."""
_INTS, _STRINGS, _REASONS = {int}, {str}, {Reason}


def plain(plan: object, clock: float) -> CheckedPlan:
    """Every field of a plan in plain Python; `clock` is `View.clock`, for the message about a wrong `wait_until`.

    Raises
    ------
    PolicyError
        It is not a `Plan`, or a field holds a wrong value or raises while it is read.
    """
    if isinstance(plan, CoroutineType):
        plan.close()  # or Python complains that it was never awaited
    if not issubclass(type(plan), Plan):
        raise PolicyError(f"plan() must return a Plan, not {kind_of(plan)}.")
    hold_all = False
    hold = _field(plan, "hold", _ids)
    if hold is ALL:
        hold, hold_all = (), True
    return CheckedPlan(
        _field(plan, "admit", _admissions),
        frozenset(hold),
        hold_all,
        _field(plan, "preempt", _reasons),
        _field(plan, "pause", _reasons),
        _field(plan, "chunk", _chunks),
        _field(plan, "wait_until", lambda given, name: _moment(given, name, clock)),
        _field(plan, "put_off", _reasons),
    )


ALL: tuple[int, ...] = (-1,)
"""How `hold="all"` is read."""


def _field(plan: object, name: str, read: Callable[[Any, str], Value]) -> Value:
    """One field, read by `read(value, name)`; an exception from the policy's objects becomes a PolicyError."""
    try:
        return read(getattr(plan, name), name)
    except (PolicyError, *PASSING):
        raise
    except BaseException as error:
        why = f": {message}" if (message := said(error)) else "."
        raise PolicyError(f"{name} cannot be read: it raised {kind_of(error)}{why}") from error


def _admissions(given: Any, name: str) -> tuple[Admit, ...]:
    if type(given) is list and not given:
        return ()
    return tuple(map(_admission, _listed(given, name)))


def _admission(entry: object) -> Admit:
    if type(entry) is int:
        return Admit(entry)
    if isinstance(entry, RequestView):
        entry = entry.id
    if not isinstance(entry, Admit):
        request = as_int(entry)
        if request is None:
            raise PolicyError(f"admit lists {shown(entry)}; it must list request ids or Admit entries.")
        return Admit(request)
    request = as_int(entry.request)
    if request is None:
        hint = "; write its id" if isinstance(entry.request, RequestView) else ""
        raise PolicyError(f"an Admit names {shown(entry.request)}; it must name a request by its id{hint}.")
    reserve = None if entry.reserve is None else as_int(entry.reserve)
    if reserve is None and entry.reserve is not None:
        raise PolicyError(
            f"request {shown(request)} reserves {shown(entry.reserve)} positions; it must be None or a whole number."
        )
    reason = text(entry.reason)
    if reason is None:
        raise PolicyError(f"the reason to admit request {shown(request)} is {shown(entry.reason)}; a reason is text.")
    return Admit(request, reserve, reason)


def _ids(given: Any, name: str) -> tuple[int, ...]:
    """Ids of finished requests, or `ALL`."""
    if issubclass(type(given), str):
        if str.__eq__(given, "all") is True:
            return ALL
        raise PolicyError(f'{name} is {shown(given)}; it must list finished requests by their ids, or be "all".')
    return tuple(_id(entry, name) for entry in _listed(given, name))


def _reasons(given: Any, name: str) -> dict[int, str]:
    """Request id → reason."""
    if type(given) is dict:
        if not given:
            return {}
        # Fast path in a few calls into C: hundreds of requests may be paused for one reason.
        if (
            set(map(type, given)) == _INTS
            and (set(map(type, given.values())) in (_STRINGS, _REASONS))
            and all(len(reason) <= LONGEST_TEXT and reason.isascii() for reason in set(given.values()))
        ):
            return given.copy()
    found: dict[int, str] = {}
    for request, value in _pairs(given, name, "reasons"):
        reason = text(value)
        if reason is None:
            raise PolicyError(f"{name} gives request {shown(request)} the reason {shown(value)}; a reason is text.")
        found[request] = reason
    return found


def _chunks(given: Any, name: str) -> dict[int, int]:
    """Request id → tokens."""
    if type(given) is dict:
        if not given:
            return {}
        if set(map(type, given)) == _INTS == set(map(type, given.values())):
            return given.copy()
    found: dict[int, int] = {}
    for request, value in _pairs(given, name, "numbers of tokens"):
        tokens = as_int(value)
        if tokens is None:
            raise PolicyError(
                f"request {shown(request)} gets a chunk of {shown(value)} tokens; it must be a whole number from 1 to "
                "what it lacks."
            )
        found[request] = tokens
    return found


def _moment(given: Any, name: str, clock: float) -> float | None:
    if given is None:
        return None
    until = as_float(given)
    if until is None or not clock < until <= LONGEST_SECONDS:
        raise PolicyError(
            f"{name} is {shown(given)}; it must be a finite number above the clock of {clock:g} and at most "
            f"{LONGEST_SECONDS:g}."
        )
    return until


def _listed(given: Any, name: str) -> Iterable[Any]:
    """The entries of a field that lists requests."""
    if type(given) is list or type(given) is tuple:
        return given
    if isinstance(given, str | bytes | bytearray | RequestView | Admit):
        hint = "; write it in [brackets]" if isinstance(given, RequestView | Admit) else ""
        raise PolicyError(f"{name} must be a list of requests, not {kind_of(given)} ({shown(given)}){hint}.")
    try:
        entries = iter(given)
    except TypeError:
        raise PolicyError(f"{name} must be a list of requests, not {kind_of(given)} ({shown(given)}).") from None
    return _bounded(entries, name)


def _pairs(given: Any, name: str, what: str) -> Iterator[tuple[int, Any]]:
    """The entries of a field that maps requests to something."""
    if not isinstance(given, Mapping):
        raise PolicyError(f"{name} must map request ids to {what}, not be {kind_of(given)} ({shown(given)}).")
    for key, value in _bounded(iter(given.items()), name):
        yield _id(key, name), value


def _bounded(entries: Iterator[Value], name: str) -> Iterator[Value]:
    for n, entry in enumerate(entries):
        if n == MOST_ENTRIES:
            raise PolicyError(f"{name} has more than {MOST_ENTRIES:,} entries; look for an iterator that never ends.")
        yield entry


def _id(entry: object, name: str) -> int:
    request = as_int(entry)
    if request is None:
        hint = "; write its id" if isinstance(entry, RequestView) else ""
        raise PolicyError(f"{name} names {shown(entry)}; it must name requests by their ids{hint}.")
    return request
