"""Rerun a recorded schedule without a model, to see what the policy saw.

The engine makes no decisions of its own: with the same policy, pool and lag, the same arrivals, output lengths and
durations give the same schedule. A trace therefore holds enough to repeat every decision of its run and to inspect the
view behind it. Every iteration of the rerun is checked against the trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from cbviz.checks import as_int, shown
from cbviz.config import EngineConfig, KVOptions
from cbviz.core.executor import Result, Step
from cbviz.errors import CbvizError, MeasureError, PolicyError
from cbviz.events import NO_REQUEST, FinishReason, Iteration, State
from cbviz.limits import MOST_CELLS
from cbviz.policies import POLICIES, Plan, Policy, View, fresh, get, identity
from cbviz.policies.check import check
from cbviz.policies.plain import plain
from cbviz.policies.plan import CheckedPlan
from cbviz.run.build import build_engine
from cbviz.trace import MARK_KINDS, Trace
from cbviz.trace.trace import HANDED_OVER, SPECULATION
from cbviz.workload import Request

VARIED = ("orca", "shortest_first")
"""Policies whose names say how they vary."""
COUNTED = {
    "prefill_slots": State.PREFILL,
    "decode_slots": State.DECODE,
    "recompute_slots": State.RECOMPUTE,
    "held_slots": State.HELD,
    "stalled_slots": State.STALLED,
}


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One decision of a policy: what it saw, what it planned, and a copy of the policy from before.

    Attributes
    ----------
    view
        The view it planned from; it is immutable, and `dataclasses.replace` makes a variant to plan for again.
    plan, checked
        The policy's plan, as returned and in checked form.
    policy
        A copy from before it planned, for policies that keep state.
    event
        The iteration that resulted.
    """

    view: View
    plan: Plan
    checked: CheckedPlan
    policy: Policy
    event: Iteration


def decision(
    trace: Trace, iteration: int, policy: Policy, prompts: Mapping[int, Sequence[int]] | None = None
) -> Decision:
    """Rerun a recorded schedule up to an iteration, and return the decision made there.

    Parameters
    ----------
    trace
        The run.
    iteration
        One of its iterations, from 0.
    policy
        The policy of the run, with the parameters that it had. It is copied, not changed.
    prompts
        Request id → prompt tokens, if the schedule depended on them (a prefix cache). A trace holds only lengths.

    Returns
    -------
    Decision
        What the policy saw and planned in that iteration.

    Raises
    ------
    MeasureError
        There is no such iteration, or the rerun departs from the trace.
    """
    index = as_int(iteration)
    if index is None or not 0 <= index < len(trace.iterations):
        raise MeasureError(
            f"the run of {trace.meta.policy!r} has iterations 0 to {len(trace.iterations) - 1}, not {shown(iteration)}."
        )
    positions = int(trace.requests.prompt_tokens.sum()) + sum(map(len, trace.requests.tokens))
    table = len(trace.requests) * max(map(len, trace.requests.tokens), default=0)
    if max(positions, table) > MOST_CELLS:
        raise MeasureError(
            f"this run is too large to rerun: {max(positions, table):,} tokens, where at most {MOST_CELLS:,} can be."
        )
    watched = _Watched(policy, iteration)
    rerun = _rerun(trace, watched, prompts or {})
    try:
        for index in range(iteration + 1):
            event = rerun.engine.step()
            _same(event, trace, index)
    except PolicyError as error:
        raise _departed(trace, index) from error
    if event is None or watched.seen is None:
        raise _departed(trace, iteration)
    view, plan = watched.seen
    return Decision(view, plan, check(plan, view), watched.before, event)


def _rerun(trace: Trace, policy: Policy, prompts: Mapping[int, Sequence[int]]) -> _Rerun:
    """The engine of the rerun. Raises MeasureError if no engine could have made this trace."""
    if HANDED_OVER in trace.meta.extra:
        raise MeasureError("this lane cannot be rerun: its requests were begun, and their KV computed, by another one.")
    if SPECULATION in trace.meta.extra:
        raise MeasureError("this lane cannot be rerun: it drafted tokens, and which ones its trace does not say.")
    try:
        return _Rerun(trace, policy, prompts)
    except (CbvizError, TypeError, ValueError, OverflowError) as error:
        raise MeasureError(f"this run cannot be rerun: no engine could have made its trace ({error}).") from None


def policy_of(trace: Trace) -> Policy:
    """The built-in policy that a trace names, with its recorded parameters.

    Raises
    ------
    MeasureError
        No built-in policy has this name; the caller must pass the policy.
    """
    name, extra = trace.meta.policy, trace.meta.extra
    cheats = name.endswith("_cheating")
    # What an estimate was given is not recorded; an oracle's lengths are those of the trace.
    stem = next((one for one in VARIED if name.startswith(one) and not name.endswith("_estimate")), name)
    kind = POLICIES.get(stem)
    if kind is None:
        raise MeasureError(f"{name!r} is not a built-in policy; pass the policy that made the run as policy=….")
    given = {}
    if isinstance(kind, type) and is_dataclass(kind):
        given = {f.name: extra[f.name] for f in fields(kind) if f.name in extra and f.name != "name"}
    if cheats:
        given["lengths"] = dict(zip(trace.requests.id.tolist(), map(len, trace.requests.tokens), strict=True))
    try:
        return kind(**given)
    except (CbvizError, TypeError) as error:
        raise MeasureError(f"the trace has parameters that {name!r} does not take: {error}") from error


class _Watched:
    """A copy of a policy that plans as the policy does, and keeps the view and the plan of one iteration."""

    def __init__(self, policy: Policy, iteration: int) -> None:
        self._policy = _copied(get(policy))
        self._iteration = iteration
        self.before: Policy = self._policy
        self.seen: tuple[View, Plan] | None = None
        self.name, self.summary = identity(self._policy)

    def plan(self, view: View) -> Plan:
        if view.iteration != self._iteration:
            return self._policy.plan(view)
        self.before = _copied(self._policy)
        plan = self._policy.plan(view)
        if isinstance(plan, Plan):
            plan = plain(plan, view.clock).plan()  # the policy may return iterators, which can be read only once
            still = replace(
                view, waiting=tuple(view.waiting), running=tuple(view.running), finished=tuple(view.finished)
            )
            self.seen = still, plan
        return plan


def _copied(policy: Policy) -> Policy:
    try:
        return fresh(policy)
    except PolicyError as error:
        raise MeasureError(f"this run cannot be rerun: {error}") from error


class _Rerun:
    """An engine that replays a trace: requests and cancellations at their iterations, tokens, durations."""

    def __init__(self, trace: Trace, policy: Policy, prompts: Mapping[int, Sequence[int]]) -> None:
        rq, meta = trace.requests, trace.meta
        self._trace = trace
        self._order = np.argsort(rq.id)
        self._ids = rq.id[self._order]
        longest = max((len(tokens) for tokens in rq.tokens), default=0)
        self._tokens = np.zeros((len(rq), max(1, longest)), np.int32)
        for row, tokens in enumerate(rq.tokens):
            self._tokens[row, : len(tokens)] = tokens
        self.end_tokens = tuple({t[-1] for t, why in zip(rq.tokens, rq.reason, strict=True) if why == FinishReason.END})
        most = int((rq.prompt_tokens + rq.max_new_tokens).max(initial=1))
        self.vocabulary = None
        self.context_limit = int(meta.extra.get("context_limit", most))
        unit: Any = meta.arrival_unit
        kv = KVOptions(
            prefix_cache=bool(meta.extra.get("prefix_cache")),
            preemption=meta.extra.get("preemption", "recompute"),
            swap_blocks=meta.extra.get("swap_blocks"),
        )
        config = EngineConfig(meta.slots, meta.total_blocks, meta.block_size, kv=kv, lag=meta.lag)
        self._block_bytes = meta.block_bytes
        self.engine = build_engine(self, policy, config, unit)
        self._coming: defaultdict[int, list[Request]] = defaultdict(list)
        self._cancelled: defaultdict[int, list[int]] = defaultdict(list)
        marks = trace.marks
        for kind, index, request in zip(
            marks.kind.tolist(), marks.iteration.tolist(), marks.request.tolist(), strict=True
        ):
            if MARK_KINDS[kind] == "arrive":
                self._coming[index].append(_request(trace, rq.row(request), prompts))
            elif MARK_KINDS[kind] == "cancel":
                self._cancelled[index].append(request)
        self._before(0)

    def _before(self, iteration: int) -> None:
        """Submit the requests that arrive before this iteration, and cancel those that are cancelled."""
        self.engine.submit(*self._coming.pop(iteration, ()))
        for request in self._cancelled.pop(iteration, ()):
            self.engine.cancel(request)

    def provide_swap(self, blocks: int) -> int:
        return self._block_bytes

    def launch(self, step: Step) -> tuple[int, Any]:
        rows = self._order[np.searchsorted(self._ids, self.engine.slots.request[step.slot])]
        tokens = self._tokens[rows, np.clip(step.draw, 0, self._tokens.shape[1] - 1)]
        self._before(step.iteration + 1)
        return step.iteration, tokens

    def collect(self, ticket: tuple[int, Any]) -> Result:
        iteration, tokens = ticket
        it = self._trace.iterations
        last = min(iteration, len(it) - 1)  # with lag 1 the engine may run one iteration past the end of the trace
        return Result(tokens, float(it.t_end[last] - it.t_start[last]))


def _request(trace: Trace, row: int, prompts: Mapping[int, Sequence[int]]) -> Request:
    """A request rebuilt from its trace; it ends where and how it did."""
    rq = trace.requests
    reason, output, number = int(rq.reason[row]), rq.tokens[row], int(rq.id[row])
    prompt = tuple(prompts.get(number, ()))
    if len(prompt) != rq.prompt_tokens[row]:
        prompt = (number,) * int(rq.prompt_tokens[row])  # no prefix in common with the other prompts
    most = int(rq.max_new_tokens[row])
    by_itself = reason in (FinishReason.END, FinishReason.STOP)
    return Request(
        id=number,
        prompt=prompt,
        max_new_tokens=most,
        arrival=float(rq.arrival[row]),
        output_length=None if by_itself else len(output) if reason == FinishReason.LENGTH else most,
        stop_tokens=output[-1:] if reason == FinishReason.STOP else (),
        client=rq.client[row] or None,
        priority=int(rq.priority[row]),
    )


def _same(event: Iteration | None, trace: Trace, index: int) -> None:
    """Raise MeasureError unless the iteration changed slots, queue and blocks as the trace says."""
    it = trace.iterations
    if event is None:
        raise _departed(trace, index)
    recorded = {name: int(getattr(it, name)[index]) for name in (*COUNTED, "waiting", "blocks_used", "blocks_reserved")}
    found = {name: int(np.count_nonzero(event.state == state)) for name, state in COUNTED.items()}
    found |= {name: getattr(event, name) for name in ("waiting", "blocks_used", "blocks_reserved")}
    admit, preempt = (MARK_KINDS.index(kind) for kind in ("admit", "preempt"))
    here = trace.marks.iteration == index
    for kind, marks in ((admit, event.admitted), (preempt, event.preempted)):
        if trace.marks.request[here & (trace.marks.kind == kind)].tolist() != [mark.request for mark in marks]:
            raise _departed(trace, index)
    if recorded != found:
        raise _departed(trace, index)


def _departed(trace: Trace, index: int) -> MeasureError:
    marks = trace.marks
    changes = np.flatnonzero((marks.kind == MARK_KINDS.index("set")) & (marks.iteration <= index))
    if len(changes):
        first = int(changes[0])
        return MeasureError(
            f"this run was changed before iteration {marks.iteration[first]} ({marks.reason[first]}); from there on it "
            "cannot be rerun."
        )
    return MeasureError(
        f"when rerun, the schedule of {trace.meta.policy!r} departs from its trace in iteration {index}; "
        "pass the policy that made it, with the parameters it had, and the prompts if it cached prefixes."
    )


def seat_of(event: Iteration, request: int) -> int:
    """The slot that held a request; `NO_REQUEST` if none did."""
    where = np.flatnonzero(event.request == request)
    return int(where[0]) if len(where) else NO_REQUEST
