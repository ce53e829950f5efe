"""Is a plan legal? Asked before anything is changed, so that a bad plan loses no request."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cbviz.errors import PolicyError
from cbviz.policies.base import Admit, Plan, Policy, RequestView, View


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A legal plan, every field in one form."""

    admit: tuple[Admit, ...]
    hold: frozenset[int]
    hold_all: bool
    preempt: dict[int, str]
    pause: dict[int, str]
    chunk: dict[int, int]
    wait_until: float | None = None


NOTHING = CheckedPlan((), frozenset(), False, {}, {}, {})
HOLD_ALL = CheckedPlan((), frozenset(), True, {}, {}, {})


def ask(policy: Policy, view: View) -> CheckedPlan:
    """Call `policy.plan(view)` and check what it says.

    Raises
    ------
    PolicyError
        The policy raised, returned something that is no `Plan`, or planned something illegal. The message names the
        policy, the request and the rule.
    """
    try:
        plan = policy.plan(view)
    except PolicyError as error:
        raise PolicyError(f"policy {policy.name!r}, iteration {view.iteration}: {error}") from error
    except Exception as error:
        raise PolicyError(
            f"policy {policy.name!r} raised {type(error).__name__} while planning iteration {view.iteration}: {error}"
        ) from error
    try:
        return check(plan, view)
    except PolicyError as error:
        raise PolicyError(f"policy {policy.name!r}, iteration {view.iteration}: {error}") from error


def check(plan: Plan, view: View) -> CheckedPlan:
    """Return the plan in checked form, or raise PolicyError with the request and the rule that it breaks."""
    if not isinstance(plan, Plan):
        raise PolicyError(f"plan() must return a Plan, not {type(plan).__name__}.")
    admit = tuple(_as_admit(entry) for entry in _listed(plan.admit, "admit"))
    hold_all = isinstance(plan.hold, str) and plan.hold == "all"
    hold = [] if hold_all else _listed(plan.hold, "hold")
    _check_wait(plan, view)
    if not (admit or hold or plan.preempt or plan.pause or plan.chunk or plan.wait_until is not None):
        return HOLD_ALL if hold_all else NOTHING
    if hold_all:
        hold = [request.id for request in view.finished]
    running = {request.id: request for request in view.running} if plan.preempt or plan.pause or plan.chunk else {}
    finished = {request.id: request for request in view.finished}
    _only(hold, finished, "hold", "a finished request that still sits in a slot")
    _only(plan.preempt, running, "preempt", "a running request")
    _only(plan.pause, running, "pause", "a running request")
    for request in plan.preempt:
        if request in plan.pause:
            raise PolicyError(f"request {request} is both preempted and paused; choose one.")
    newcomers = _check_admissions(admit, plan, view, hold, finished, running)
    for request, tokens in plan.chunk.items():
        seen = running.get(request) or newcomers.get(request)
        if seen is None:
            raise PolicyError(f"chunk names request {request}, which is neither running nor admitted by this plan.")
        if request in plan.pause or request in plan.preempt:
            raise PolicyError(f"request {request} gets a chunk but is also paused or preempted; choose one.")
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= seen.lacks:
            raise PolicyError(
                f"request {request} gets a chunk of {tokens!r} tokens; it must be a whole number from 1 to the "
                f"{seen.lacks} that it lacks."
            )
    return CheckedPlan(
        admit, frozenset(hold), False, dict(plan.preempt), dict(plan.pause), dict(plan.chunk), plan.wait_until
    )


def _check_wait(plan: Plan, view: View) -> None:
    """A policy may only wait for a moment that comes."""
    until = plan.wait_until
    if until is None:
        return
    if isinstance(until, bool) or not isinstance(until, int | float) or not view.clock < until < math.inf:
        raise PolicyError(f"wait_until is {until!r}; it must be a finite number above the clock of {view.clock:g}.")


def _check_admissions(
    admit: tuple[Admit, ...],
    plan: Plan,
    view: View,
    hold: list[int],
    finished: dict[int, RequestView],
    running: dict[int, RequestView],
) -> dict[int, RequestView]:
    """Admitted ids must wait, be named once, and find a slot and blocks; return their views."""
    if not admit:
        return {}
    wanted = {entry.request for entry in admit}
    if len(wanted) != len(admit):
        twice = next(e.request for i, e in enumerate(admit) if e.request in {x.request for x in admit[:i]})
        raise PolicyError(f"request {twice} is admitted twice in one plan.")
    newcomers: dict[int, RequestView] = {}
    for request in view.waiting:
        if request.id in wanted:
            newcomers[request.id] = request
            if len(newcomers) == len(wanted):
                break
    for stranger in sorted(wanted - newcomers.keys()):
        raise PolicyError(f"request {stranger} is admitted but does not wait; only waiting requests can be admitted.")
    slots = view.free_slots - len(hold) + len(plan.preempt)
    if len(admit) > slots:
        raise PolicyError(f"{len(admit)} requests are admitted but only {slots} slots are free.")
    blocks = view.free_blocks - sum(finished[r].frees for r in hold)
    gone: list[RequestView] = []
    for victim in plan.preempt:
        blocks += view.freed_by(running[victim], gone)
        gone.append(running[victim])
    needed = 0
    for entry in admit:
        newcomer = newcomers[entry.request]
        first = newcomer.computed + plan.chunk.get(entry.request, newcomer.lacks)
        reserve = newcomer.most if entry.reserve is None else entry.reserve
        if not isinstance(reserve, int) or not first <= reserve <= view.context_limit:
            raise PolicyError(
                f"request {entry.request} reserves {reserve!r} positions; it must be a whole number from the {first} "
                f"that it takes in now or has to the context limit of {view.context_limit}."
            )
        needed += view.blocks_taken(newcomer, reserve)
        if needed > blocks:
            raise PolicyError(
                f"request {entry.request} does not fit: the admissions up to it need {needed} KV blocks and "
                f"{blocks} are free."
            )
    return newcomers


def _as_admit(entry: object) -> Admit:
    if isinstance(entry, Admit):
        return entry
    if isinstance(entry, int) and not isinstance(entry, bool):
        return Admit(entry)
    if isinstance(entry, RequestView):
        return Admit(entry.id)
    raise PolicyError(f"admit lists {entry!r}; it must list request ids or Admit entries.")


def _listed(entries: Iterable[Any], field: str) -> list[Any]:
    try:
        return list(entries)
    except TypeError:
        raise PolicyError(f"{field} must be a list of requests, not {type(entries).__name__}.") from None


def _only(named: Iterable[int], allowed: dict[int, RequestView], verb: str, what: str) -> None:
    for request in named:
        if request not in allowed:
            raise PolicyError(f"{verb} names request {request!r}, which is not {what}.")


def growth_shortage(policy: Policy, iteration: int, needed: int, free: int) -> PolicyError:
    """The error for a plan that lets the running requests outgrow the pool."""
    return PolicyError(
        f"policy {policy.name!r}, iteration {iteration}: the running requests need {needed} more KV blocks and {free} "
        f"are free; preempt or pause until {needed - free} more are."
    )
