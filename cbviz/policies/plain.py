"""A plan in plain Python: what each of its fields says, whatever a policy wrote it with.

Lists may be any iterable of ids, numbers may be numpy's, text may be a subclass of `str`. Here every field is read once
and becomes tuples, dicts, `int`, `float` and `str` of our own. What cannot be read is refused with the field's name.
Whether the plan is legal is asked afterwards, in `cbviz.policies.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, TypeVar

from cbviz.errors import PolicyError
from cbviz.limits import LONGEST_SECONDS
from cbviz.policies.base import Admit, Plan, RequestView
from cbviz.policies.values import LONGEST_TEXT, PASSING, kind_of, number, said, shown, text, whole

Value = TypeVar("Value")

MOST_ENTRIES = 100_000
"""Entries of one field, more than an engine has slots; an iterator without an end is refused there."""
_INTS, _STRINGS = {int}, {str}


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan with every field in one form, of plain Python values only.

    Attributes
    ----------
    admit
        `Admit` entries in order.
    hold
        Ids of finished requests that are held; empty where `hold_all`.
    hold_all
        All finished requests are held.
    preempt, pause
        Request id → reason.
    chunk
        Request id → tokens.
    wait_until
        In the unit of `View.clock`; None does not wait.
    put_off
        Request id → reason; empty in the plans that the engine gets, which has no use for it.
    """

    admit: tuple[Admit, ...]
    hold: frozenset[int]
    hold_all: bool
    preempt: dict[int, str]
    pause: dict[int, str]
    chunk: dict[int, int]
    wait_until: float | None = None
    put_off: dict[int, str] | None = None

    def plan(self) -> Plan:
        """The same as a `Plan`."""
        return Plan(
            admit=self.admit,
            hold="all" if self.hold_all else tuple(self.hold),
            preempt=self.preempt,
            pause=self.pause,
            chunk=self.chunk,
            wait_until=self.wait_until,
            put_off=self.put_off or {},
        )


def plain(plan: object, clock: float) -> CheckedPlan:
    """Every field of a plan in plain Python; `clock` is `View.clock`, for the message about a wrong `wait_until`.

    Raises
    ------
    PolicyError
        It is no `Plan`, or a field holds what it cannot hold, or raises while it is read.
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


def nothing_asked(plan: object) -> bool:
    """Whether a plan, at a glance, asks for nothing but to go on: most plans do, and need no further reading.

    False says nothing about a plan.
    """
    if type(plan) is not Plan:
        return False
    kinds = type(plan.preempt), type(plan.pause), type(plan.chunk), type(plan.put_off)
    if kinds != _DICTS or plan.preempt or plan.pause or plan.chunk or plan.wait_until is not None:
        return False
    if type(plan.admit) not in _LISTS or plan.admit or type(plan.hold) not in _LISTS_OR_TEXT:
        return False
    if plan.hold and plan.hold != "all":
        return False
    return not plan.put_off or all(type(r) is int and type(why) is str for r, why in plan.put_off.items())


_DICTS = dict, dict, dict, dict
_LISTS = list, tuple
_LISTS_OR_TEXT = list, tuple, str
ALL: tuple[int, ...] = (-1,)
"""What `hold="all"` is read as."""


def _field(plan: object, name: str, read: Callable[[Any, str], Value]) -> Value:
    """One field, read by `read(value, name)`; whatever the policy's objects raise meanwhile becomes a PolicyError."""
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
        request = whole(entry)
        if request is None:
            raise PolicyError(f"admit lists {shown(entry)}; it must list request ids or Admit entries.")
        return Admit(request)
    request = whole(entry.request)
    if request is None:
        hint = "; write its id" if isinstance(entry.request, RequestView) else ""
        raise PolicyError(f"an Admit names {shown(entry.request)}; it must name a request by its id{hint}.")
    reserve = None if entry.reserve is None else whole(entry.reserve)
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
        # The common case in a few calls into C, for hundreds of requests may be paused for one reason.
        if (
            set(map(type, given)) == _INTS
            and set(map(type, given.values())) == _STRINGS
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
        tokens = whole(value)
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
    until = number(given)
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
            raise PolicyError(f"{name} has more than {MOST_ENTRIES:,} entries; look for an iterator without an end.")
        yield entry


def _id(entry: object, name: str) -> int:
    request = whole(entry)
    if request is None:
        hint = "; write its id" if isinstance(entry, RequestView) else ""
        raise PolicyError(f"{name} names {shown(entry)}; it must name requests by their ids{hint}.")
    return request
