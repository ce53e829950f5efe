"""Checks that a plan is legal, before the engine changes anything, so that a bad plan loses no request."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

from cbviz.checks import PASSING, kind_of
from cbviz.errors import PolicyError
from cbviz.limits import LONGEST_SECONDS
from cbviz.policies.base import Policy
from cbviz.policies.identity import name_of
from cbviz.policies.plain import plain
from cbviz.policies.plan import Admit, CheckedPlan, Plan
from cbviz.policies.policy_view import RequestView, View
from cbviz.policies.values import LONGEST_TEXT, said, shown
from cbviz.reason import Reason

NOTHING = CheckedPlan((), frozenset(), False, {}, {}, {})
HOLD_ALL = CheckedPlan((), frozenset(), True, {}, {}, {})

_judged_by = attrgetter(
    *("waiting", "running", "finished", "free_slots", "free_blocks", "block_size", "context_limit", "clock"),
    *("freed_together",),
)
"""The parts of a view that decide whether a plan is legal."""
_DICTS = dict, dict, dict, dict
_LISTS = list, tuple
_LISTS_OR_TEXT = list, tuple, str
_TEXTS = str, Reason
_COUNT = int, type(None)


def ask(policy: Policy, view: View) -> CheckedPlan:
    """Call `policy.plan(view)` and check the plan.

    Raises
    ------
    PolicyError
        The policy raised (including `SystemExit`), did not return a `Plan`, or returned an illegal one. The message
        names the policy, the iteration, the field and the rule. Only KeyboardInterrupt passes through.
    """
    iteration, before = view.iteration, _judged_by(view)
    try:
        checked = check(policy.plan(view), view)
        if checked is not NOTHING and checked is not HOLD_ALL and _judged_by(view) != before:
            raise PolicyError("it changed its view, which is read-only.")
        return checked
    except PASSING:
        raise
    except PolicyError as error:
        if error.named:  # by a policy that asks another one
            raise
        raise _named(f"policy {name_of(policy)!r}, iteration {iteration}: {said(error)}") from error
    except BaseException as error:
        doing = f"raised {kind_of(error)} while planning iteration {iteration}"
        raise _named(f"policy {name_of(policy)!r} {doing}: {said(error)}") from error


def _named(message: str) -> PolicyError:
    error = PolicyError(message)
    error.named = True
    return error


def check(plan: Plan, view: View) -> CheckedPlan:
    """Return the plan in checked form, or raise PolicyError with the field, the request and the broken rule.

    A checked plan holds plain Python only, and shares no object with the policy.
    """
    if _nothing_asked(plan):
        return NOTHING if plan.hold != "all" else HOLD_ALL
    asked = _copied(plan, view.clock) or plain(plan, view.clock)
    admit, preempt, pause, chunk = asked.admit, asked.preempt, asked.pause, asked.chunk
    if not (admit or asked.hold or preempt or pause or chunk or asked.wait_until is not None):
        return HOLD_ALL if asked.hold_all else NOTHING
    hold = frozenset(request.id for request in view.finished) if asked.hold_all else asked.hold
    running = {request.id: request for request in view.running} if preempt or pause or chunk else {}
    finished = {request.id: request for request in view.finished}
    for named, allowed, field, what in (
        (hold, finished, "hold", "a finished request that still sits in a slot"),
        (preempt, running, "preempt", "a running request"),
        (pause, running, "pause", "a running request"),
    ):
        if not allowed.keys() >= set(named):
            unknown = next(request for request in named if request not in allowed)
            raise PolicyError(f"{field} names request {shown(unknown)}, which is not {what}.")
    for request in preempt:
        if request in pause:
            raise PolicyError(f"request {request} is both preempted and paused; choose one.")
    newcomers = _newcomers(admit, view)
    for request, tokens in chunk.items():
        seen = running.get(request) or newcomers.get(request)
        if seen is None:
            raise PolicyError(
                f"chunk names request {shown(request)}, which is neither running nor admitted by this plan."
            )
        if request in pause or request in preempt:
            raise PolicyError(f"request {request} gets a chunk but is also paused or preempted; choose one.")
        if not 1 <= tokens <= seen.lacks:
            raise PolicyError(
                f"request {request} gets a chunk of {shown(tokens)} tokens; it must be a whole number from 1 to the "
                f"{seen.lacks} that it lacks."
            )
    if admit:
        _check_room(asked, view, sum(finished[r].frees for r in hold), len(hold), newcomers, running)
    return replace(asked, hold=hold, hold_all=False) if asked.hold_all else asked


def _nothing_asked(plan: object) -> bool:
    """Whether a plan visibly changes nothing: most plans do not, and need no further reading.

    False means only that the plan must be read.
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
    return not plan.put_off or all(type(r) is int and type(why) in _TEXTS for r, why in plan.put_off.items())


def _copied(plan: object, clock: float) -> CheckedPlan | None:
    """A copy of a plan that is plain Python already, as those of cbviz are; None if `plain` must convert a field."""
    if type(plan) is not Plan:
        return None
    asked: Any = plan  # of which no type can be trusted
    given, hold, chunk, until = asked.admit, asked.hold, asked.chunk, asked.wait_until
    hold_all = type(hold) is str and hold == "all"
    if hold_all:
        hold = ()
    if type(given) not in _LISTS or type(hold) not in _LISTS:
        return None
    admit = [entry for entry in map(_copied_entry, given) if entry is not None]
    if (
        len(admit) != len(given)
        or not all(type(request) is int for request in hold)
        or not (_reasons_plain(asked.preempt) and _reasons_plain(asked.pause) and _reasons_plain(asked.put_off))
        or type(chunk) is not dict
        or (chunk and not set(map(type, chunk)) == {int} == set(map(type, chunk.values())))
        or not (until is None or (type(until) is float and clock < until <= LONGEST_SECONDS))
    ):
        return None
    preempt, pause, put_off = asked.preempt.copy(), asked.pause.copy(), asked.put_off.copy()
    return CheckedPlan(tuple(admit), frozenset(hold), hold_all, preempt, pause, chunk.copy(), until, put_off)


def _copied_entry(entry: object) -> Admit | None:
    if type(entry) is int:
        return Admit(entry)
    if type(entry) is not Admit or type(entry.request) is not int or type(entry.reserve) not in _COUNT:
        return None
    return Admit(entry.request, entry.reserve, entry.reason) if _text_plain(entry.reason) else None


def _reasons_plain(reasons: object) -> bool:
    """Whether it maps ids to reasons that need no conversion: hundreds of requests may be paused for one reason."""
    if type(reasons) is not dict:
        return False
    if not reasons:
        return True
    texts = reasons.values()
    plain_types = set(map(type, reasons)) == {int} and {str, Reason}.issuperset(map(type, texts))
    return plain_types and all(map(_text_plain, set(texts)))


def _text_plain(text: Any) -> bool:
    return type(text) in _TEXTS and len(text) <= LONGEST_TEXT and text.isascii()


def _newcomers(admit: tuple[Admit, ...], view: View) -> dict[int, RequestView]:
    """The views of the admitted requests, which must be waiting and named once."""
    newcomers: dict[int, RequestView] = {}
    if not admit:
        return newcomers
    wanted = {entry.request for entry in admit}
    if len(wanted) != len(admit):
        ids = [entry.request for entry in admit]
        twice = next(request for i, request in enumerate(ids) if request in ids[:i])
        raise PolicyError(f"request {shown(twice)} is admitted twice in one plan.")
    for request in view.waiting:
        if request.id in wanted:
            newcomers[request.id] = request
            if len(newcomers) == len(wanted):
                break
    for request_id in sorted(wanted - newcomers.keys()):
        raise PolicyError(
            f"request {shown(request_id)} is admitted but does not wait; only waiting requests can be admitted."
        )
    return newcomers


def _check_room(
    plan: CheckedPlan,
    view: View,
    held_blocks: int,
    held: int,
    newcomers: dict[int, RequestView],
    running: dict[int, RequestView],
) -> None:
    """Admitted requests must find free slots and blocks; the `held` finished requests keep theirs."""
    slots = view.free_slots - held + len(plan.preempt)
    if len(plan.admit) > slots:
        admitted = "1 request is" if len(plan.admit) == 1 else f"{len(plan.admit)} requests are"
        raise PolicyError(f"{admitted} admitted but only {slots} {'slot is' if slots == 1 else 'slots are'} free.")
    blocks = view.free_blocks - held_blocks
    gone: list[RequestView] = []
    for victim in plan.preempt:
        blocks += view.freed_by(running[victim], gone)
        gone.append(running[victim])
    needed = 0
    for entry in plan.admit:
        newcomer = newcomers[entry.request]
        first = newcomer.computed + plan.chunk.get(entry.request, newcomer.lacks)
        reserve = newcomer.most if entry.reserve is None else entry.reserve
        if not first <= reserve <= view.context_limit:
            raise PolicyError(
                f"request {entry.request} reserves {shown(reserve)} positions; it must be a whole number from the "
                f"{first} that it takes in now or has to the context limit of {view.context_limit}."
            )
        needed += view.blocks_taken(newcomer, reserve)
        if needed > blocks:
            raise PolicyError(
                f"request {entry.request} does not fit: the admissions up to it need {needed} KV blocks and "
                f"{blocks} are free."
            )
