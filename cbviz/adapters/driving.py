"""A cbviz policy inside another engine's scheduler: what can be mapped, and what is refused by name.

Two things map onto any engine that schedules by iteration: the order and number of admissions, and how many of the
tokens that it lacks a request takes in. Everything else belongs to the engine: it frees a finished request's row at
once (so nothing can be held), decodes every running request (nothing can be paused or preempted by choice), and grows
its KV cache by its own rule. So a policy must leave room for the whole of every request that it admits. A policy is
rehearsed on our own loop before anything runs, and the first plan beyond this refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import AdapterError, PolicyError
from cbviz.policies import Plan, Policy, RequestView, View, fresh, get
from cbviz.policies.check import ask, check
from cbviz.policies.identity import name_of
from cbviz.policies.plan import CheckedPlan
from cbviz.workload import Request, Workload

MAPPED = "a policy that drives it may choose admissions and their order, and cut chunks"
Judge = Callable[[View, CheckedPlan], None]
"""Raises AdapterError for a plan that one engine in particular cannot follow."""

_PROMPTS = (5, 40, 3, 17, 9, 33, 2, 21, 8, 12, 40, 4)
_OUTPUTS = (9, 2, 16, 4, 12, 1, 7, 16, 3, 10, 5, 8)
_LIMIT = 16
REHEARSAL = Workload(
    "rehearsal",
    tuple(
        Request(id, tuple(range(3, 3 + prompt)), _LIMIT, output_length=output)
        for id, (prompt, output) in enumerate(zip(_PROMPTS, _OUTPUTS, strict=True))
    ),
)
"""Long and short prompts and answers, more than fit at once: whatever a policy does under pressure, it does here."""
MOST_REHEARSED = 200
"""Requests of the caller's own workload that are rehearsed, too."""


class Driver:
    """A policy as another engine asks it.

    Parameters
    ----------
    policy
        A name, or a policy; a copy is driven.
    engine
        The engine's name, for messages.
    judge
        What else the engine cannot follow.

    Raises
    ------
    PolicyError
        It is no policy, or cannot be copied.
    """

    def __init__(self, policy: str | Policy, engine: str, judge: Judge | None = None) -> None:
        self.policy = fresh(get(policy))
        self.engine = engine
        self._judge = judge

    def plan(self, view: View) -> CheckedPlan:
        """What the policy asks for.

        Parameters
        ----------
        view
            What it may know.

        Returns
        -------
        CheckedPlan
            Admissions and chunks only.

        Raises
        ------
        AdapterError
            It asks for something that the engine cannot do.
        PolicyError
            It raised, or its plan is illegal.
        """
        plan = ask(self.policy, view)
        self._refuse(plan, view)
        return plan

    def rehearse(self, workload: Workload | None = None, slots: int = 3) -> None:
        """Run the policy on our own loop, with a model that computes nothing, before the engine runs anything.

        Parameters
        ----------
        workload
            The work to come, if it is known; its first requests are rehearsed beside a workload made for it.
        slots
            How many requests of it run at once.

        Raises
        ------
        AdapterError
            The policy asks for something that the engine cannot do; the message names it.
        PolicyError
            It raises, or plans something illegal.
        """
        ample = _ample(REHEARSAL, 3, 4)
        self._run(REHEARSAL, 3, ample, 4)
        with suppress(PolicyError):  # it may count on ample memory, which is what it will have
            self._run(REHEARSAL, 3, ample // 2, 4)
        if workload is not None:
            first = tuple(
                replace(request, arrival=0.0, output_length=request.output_length or request.max_new_tokens)
                for request in workload.requests[:MOST_REHEARSED]
            )
            mine = Workload(workload.name, first, workload.seed)
            self._run(mine, slots, _ample(mine, slots, 16), 16)

    def _run(self, workload: Workload, slots: int, blocks: int, block_size: int) -> None:
        rehearsed = _Rehearsed(fresh(self.policy), self._refuse)
        executor = NullExecutor(context_limit=workload.longest)
        engine = Engine(executor, rehearsed, slots=slots, pool=BlockPool(blocks, block_size))
        try:
            for _ in engine.run(workload):
                pass
        except PolicyError:
            if rehearsed.refusal is not None:
                raise rehearsed.refusal from None
            raise

    def _refuse(self, plan: CheckedPlan, view: View) -> None:
        who = f"policy {name_of(self.policy)!r}"
        asks = unmapped(plan, view)
        if asks:
            raise AdapterError(f"{who} {asks}, which {self.engine} cannot do; {MAPPED}.")
        if self._judge is not None:
            self._judge(view, plan)


def _ample(workload: Workload, slots: int, block_size: int) -> int:
    """Blocks with which every slot holds the longest request."""
    return slots * -(-workload.longest // block_size)


class _Rehearsed:
    """Passes plans on and keeps the first refusal, which the loop would wrap in a PolicyError."""

    def __init__(self, policy: Policy, refuse: Callable[[CheckedPlan, View], None]) -> None:
        self.name, self.summary = policy.name, policy.summary
        self.refusal: AdapterError | None = None
        self._policy, self._refuse = policy, refuse

    def plan(self, view: View) -> Plan:
        """The policy's plan, if it can be mapped."""
        asked = self._policy.plan(view)
        try:
            self._refuse(check(asked, view), view)
        except AdapterError as error:
            self.refusal = error
            raise
        return asked


def unmapped(plan: CheckedPlan, view: View) -> str:
    """What a plan asks for beyond admissions and chunks, as a predicate; "" if nothing.

    Parameters
    ----------
    plan, view
        The checked plan, and what it was made from.

    Returns
    -------
    str
        Such as "pauses request 3".
    """
    if plan.hold or plan.hold_all:
        return "holds finished requests in their slots"
    if plan.preempt:
        return f"preempts request {next(iter(plan.preempt))}"
    if plan.pause:
        return f"pauses request {next(iter(plan.pause))}"
    if plan.wait_until is not None:
        return "waits for a time of its own choice"
    waiting = {request.id: request for request in view.waiting} if plan.admit else {}
    for entry in plan.admit:
        most = waiting[entry.request].most
        if entry.reserve is not None and entry.reserve < most:
            return (
                f"admits request {entry.request} with room for {entry.reserve} of its {most} positions (optimistic "
                "memory)"
            )
    return ""


def view_of(
    *,
    iteration: int,
    now: float,
    slots: int,
    waiting: Sequence[RequestView],
    running: Sequence[RequestView],
    total_blocks: int,
    block_size: int,
    context_limit: int,
    last_admission: int | None,
    taken: int = 0,
) -> View:
    """What a policy may know of another engine.

    Every running request counts as holding room for all that it can ever need, whatever the engine has given it so far.

    Parameters
    ----------
    iteration, now, slots, waiting, running, total_blocks, block_size, context_limit, last_admission
        As in `View`; the blocks of `running` are set here.
    taken
        Slots beyond `running` that are not free yet.

    Returns
    -------
    View
        Without finished requests: the engine has let go of them.
    """
    seated = [request._replace(blocks=-(-request.most // block_size)) for request in running]
    return View(
        iteration=iteration,
        now=now,
        slots=slots,
        waiting=tuple(waiting),
        running=tuple(seated),
        finished=(),
        free_slots=max(0, slots - len(seated) - taken),
        free_blocks=max(0, total_blocks - sum(request.blocks for request in seated)),
        block_size=block_size,
        total_blocks=total_blocks,
        context_limit=context_limit,
        clock=now,
        last_admission=last_admission,
    )


def stuck(engine: str, policy: Policy, waiting: int) -> AdapterError:
    """The error for a policy that admits nothing while nothing runs: the engine would wait for ever."""
    return AdapterError(
        f"policy {name_of(policy)!r} admits none of the {waiting} waiting requests while nothing runs, so {engine} "
        "would wait for ever."
    )
