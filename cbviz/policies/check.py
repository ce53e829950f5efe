"""Is a plan legal? Asked before anything is changed, so that a bad plan loses no request."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from cbviz.errors import PolicyError
from cbviz.policies.base import Admit, Plan, Policy, RequestView, View
from cbviz.policies.identity import name_of
from cbviz.policies.plain import CheckedPlan, nothing_asked, plain
from cbviz.policies.values import PASSING, kind_of, said, shown

NOTHING = CheckedPlan((), frozenset(), False, {}, {}, {})
HOLD_ALL = CheckedPlan((), frozenset(), True, {}, {}, {})

_judged_by = attrgetter(
    *("waiting", "running", "finished", "free_slots", "free_blocks", "block_size", "context_limit", "clock"),
    *("freed_together",),
)
"""What of a view says whether a plan is legal."""


def ask(policy: Policy, view: View) -> CheckedPlan:
    """Call `policy.plan(view)` and check what it says.

    Raises
    ------
    PolicyError
        The policy raised (`SystemExit` and the like, too), returned something that is no `Plan`, or planned something
        illegal. The message names the policy, the iteration, the field and the rule. Only KeyboardInterrupt passes
        through.
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
    """Return the plan in checked form, or raise PolicyError with the field, the request and the rule that it breaks.

    A checked plan holds plain Python only, and nothing that the policy still has.
    """
    if nothing_asked(plan):
        return NOTHING if plan.hold != "all" else HOLD_ALL
    asked = plain(plan, view.clock)
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
            stranger = next(request for request in named if request not in allowed)
            raise PolicyError(f"{field} names request {shown(stranger)}, which is not {what}.")
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


def _newcomers(admit: tuple[Admit, ...], view: View) -> dict[int, RequestView]:
    """Admitted ids must wait and be named once; return their views."""
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
    for stranger in sorted(wanted - newcomers.keys()):
        raise PolicyError(
            f"request {shown(stranger)} is admitted but does not wait; only waiting requests can be admitted."
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
    """Those who are admitted must find slots and blocks; `held` finished ones keep theirs."""
    slots = view.free_slots - held + len(plan.preempt)
    if len(plan.admit) > slots:
        raise PolicyError(f"{len(plan.admit)} requests are admitted but only {slots} slots are free.")
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


def growth_shortage(policy: Policy, iteration: int, needed: int, free: int) -> PolicyError:
    """The error for a plan that lets the running requests outgrow the pool."""
    return PolicyError(
        f"policy {name_of(policy)!r}, iteration {iteration}: the running requests need {needed} more KV blocks and "
        f"{free} are free; preempt or pause until {needed - free} more are."
    )
