"""Why was this request not let in? What a policy decided in one iteration of a run, in words.

The verdict is what happened. The reason is the policy's own, given by the very branch of its plan that closed the
queue. A policy that gives none is asked again with one thing changed: more memory, the head of the queue, an empty
engine. Whichever change lets the request in is what it was waiting for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from html import escape
from typing import Any

from cbviz.checks import as_int, shown
from cbviz.core.interrupts import PlanTimeout, PolicyTimeout
from cbviz.errors import MeasureError
from cbviz.events import FinishReason, State
from cbviz.messages import FIRST, Message, in_language, say
from cbviz.policies import Policy, RequestView, View, fresh
from cbviz.policies.check import check
from cbviz.run.rerun import Decision, decision, policy_of, seat_of
from cbviz.trace import Trace
from cbviz.view.language import spoken

SHOWN = 20
"""Waiting requests that a list shows, from the head of the queue."""
SECONDS_TO_REPLAN = 5.0
"""Seconds for a policy that is asked again."""
NO_REASON = Message("why.no_reason")
HELD, GONE, WAITS = Message("why.held"), Message("why.gone"), Message("why.waits")


@dataclass(frozen=True, slots=True)
class Answer:
    """What happened to one request in one iteration, and why.

    Attributes
    ----------
    request
        Its id.
    place
        Its place in the queue before the iteration, from 1; None if it did not wait.
    verdict
        What happened: "let in", "waits", "decodes", "takes in its prompt", "stalls", "thrown out", "held", …
    reason
        Why: a message, or text as a policy wrote it; empty where there is nothing to explain.
    """

    request: int
    place: int | None
    verdict: str
    reason: str = ""

    def text(self, language: str = FIRST) -> str:
        """One line."""
        key = f"why.line{'_queued' if self.place else ''}{'_because' if self.reason else ''}"
        return say(language, key, {field.name: getattr(self, field.name) for field in fields(self)})

    __str__ = text


@dataclass(frozen=True, slots=True)
class LaneWhy:
    """One iteration of one run: the free slots and blocks, and what became of each request that was asked about."""

    policy: str
    iteration: int
    setting: str
    answers: tuple[Answer, ...]

    def text(self, language: str = FIRST) -> str:
        """A line for the iteration, and one for each request that was asked about."""
        return "\n".join([self._title(language), *(f"  {answer.text(language)}" for answer in self.answers)])

    __str__ = text

    def html(self, language: str = FIRST) -> str:
        """A table."""
        rows = "".join(
            f"<tr><td>{a.request}</td><td>{a.place or ''}</td><td>{escape(in_language(a.verdict, language))}</td>"
            f'<td style="text-align:left">{escape(in_language(a.reason, language))}</td></tr>'
            for a in self.answers
        )
        heads = say(language, "why.head_request"), say(language, "why.head_place")
        head = "".join(f"<th>{word}</th>" for word in (*heads, "", ""))
        return (
            f"<p>{escape(self._title(language))}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _title(self, language: str) -> str:
        facts = {"policy": self.policy, "iteration": self.iteration, "setting": self.setting}
        return say(language, "why.title", facts)


@dataclass(frozen=True, slots=True)
class Why:
    """The answer to `why`: one part a lane. Print it; in a notebook it is a table, in the notebook's language."""

    lanes: tuple[LaneWhy, ...]
    language: str = FIRST

    def __str__(self) -> str:
        return "\n".join(lane.text(self.language) for lane in self.lanes)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": "".join(lane.html(self.language) for lane in self.lanes)}


def why(
    run: Any,
    request: int | None = None,
    iteration: int = 0,
    *,
    policy: Policy | None = None,
    prompts: Mapping[int, Sequence[int]] | None = None,
) -> Why:
    """Why a request was let in, kept waiting, stalled or thrown out in an iteration.

    Parameters
    ----------
    run
        A race, a benchmark, or a trace (also one from a file).
    request
        Its id; None asks about the head of the queue: the first twenty who waited then.
    iteration
        Of the run, from 0.
    policy
        For a trace of a policy that is not one of cbviz's: the policy. Others are made anew from what the trace says.
    prompts
        For a trace of a run that cached prefixes: request id → prompt tokens.

    Returns
    -------
    Why
        One part for each lane; print it, or display it in a notebook.

    Raises
    ------
    MeasureError
        There is no such run, iteration or request, or the schedule cannot be rerun.

    Examples
    --------
    >>> from cbviz.run.schedule import schedule
    >>> from cbviz.workload import Request, Workload
    >>> work = Workload("two requests", tuple(Request(i, (7, 7), 3, output_length=3) for i in range(2)))
    >>> answer = why(schedule("static", work, slots=1), request=1, iteration=1)
    >>> print(answer)  # doctest: +ELLIPSIS
    static, iteration 1: 1 running, 1 waiting; ...
      request 1 (number 1 in the queue): waits — ...
    """
    if prompts is not None and not isinstance(prompts, Mapping):
        raise MeasureError(f"prompts must be a mapping of request ids to their prompt tokens, not {shown(prompts)}.")
    if isinstance(run, Trace):
        return Why(
            (lane_why(run, policy_of(run) if policy is None else policy, request, iteration, prompts),), spoken()
        )
    if callable(own := getattr(run, "why", None)):
        if policy is not None or prompts is not None:
            raise MeasureError("a race and a benchmark know their policies and prompts; pass these only for a trace.")
        answer = own(request, iteration)
        if isinstance(answer, Why):
            return answer
    raise MeasureError(f"why asks about a race, a benchmark or a trace, not about {type(run).__name__}.")


def lane_why(
    trace: Trace,
    policy: Policy,
    request: int | None,
    iteration: int,
    prompts: Mapping[int, Sequence[int]] | None = None,
    name: str | None = None,
) -> LaneWhy:
    """`why` for one run, whose policy is known."""
    known = trace.requests.id
    if request is not None and ((asked := as_int(request)) is None or asked not in known):
        raise MeasureError(
            f"the run has no request {shown(request)}; it has {len(known)}, from {min(known)} to {max(known)}."
        )
    made = decision(trace, iteration, policy, prompts)
    if request is None:
        queue = [of_the_queue(made, seen, n) for n, seen in enumerate(made.view.waiting[:SHOWN], 1)]
        return LaneWhy(name or trace.meta.policy, iteration, _setting(made), tuple(map(_shortened, queue)))
    return LaneWhy(name or trace.meta.policy, iteration, _setting(made), (answered(made, trace, request),))


def _setting(made: Decision) -> Message:
    view = made.view
    return Message(
        "why.setting",
        running=len(view.running),
        waiting=len(view.waiting),
        free_slots=view.free_slots,
        slots=view.slots,
        free_blocks=view.free_blocks,
        blocks=view.total_blocks,
    )


def _shortened(answer: Answer) -> Answer:
    """In a list, a request behind another need not repeat the other's reason."""
    reason = answer.reason
    if isinstance(reason, Message) and reason.key == "why.behind_put_off":
        return replace(answer, reason=Message("why.behind", request=reason.facts["request"]))
    return answer


def answered(made: Decision, trace: Trace, request: int) -> Answer:
    """What became of a request in an iteration whose decision is known."""
    view = made.view
    for place, seen in enumerate(view.waiting, 1):
        if seen.id == request:
            return of_the_queue(made, seen, place)
    for seen in view.running:
        if seen.id == request:
            return _of_the_running(made, seen)
    if any(seen.id == request for seen in view.finished):
        if seat_of(made.event, request) >= 0:
            return Answer(request, None, HELD, Message("why.held_by_batch"))
        return Answer(request, None, GONE, Message("why.leaves"))
    return _of_the_absent(trace, request, made.event.index)


def _of_the_absent(trace: Trace, request: int, iteration: int) -> Answer:
    rq = trace.requests
    row = rq.row(request)
    finished = int(rq.finished[row])
    if 0 <= finished <= iteration:
        how = "why.cancelled" if rq.reason[row] == FinishReason.CANCELLED else "why.ended"
        return Answer(request, None, GONE, Message(how, iteration=finished))
    arrived = int(rq.arrived[row])
    when = Message("why.comes", iteration=arrived) if arrived >= 0 else Message("why.never_came")
    return Answer(request, None, Message("why.not_there"), when)


def _of_the_running(made: Decision, seen: RequestView) -> Answer:
    plan = made.checked
    if seen.id in plan.preempt:
        return Answer(seen.id, None, Message("why.thrown_out"), plan.preempt[seen.id] or NO_REASON)
    if seen.id in plan.pause:
        return Answer(seen.id, None, Message("why.stalls"), plan.pause[seen.id] or NO_REASON)
    if made.event.state[seat_of(made.event, seen.id)] == State.HELD:
        return Answer(seen.id, None, HELD, Message("why.end_on_its_way"))
    return Answer(seen.id, None, *_taking_in(seen, plan.chunk.get(seen.id)))


def _taking_in(seen: RequestView, chunk: int | None) -> tuple[str, str]:
    """What a request does that gets tokens: (verdict, reason)."""
    if chunk is not None and chunk < seen.lacks:
        return Message("why.takes_chunk"), Message("why.part", tokens=chunk, lacks=seen.lacks)
    if seen.lacks > 1:
        return Message("why.takes_all"), Message("why.tokens", n=seen.lacks)
    return Message("why.decodes"), ""


def of_the_queue(made: Decision, seen: RequestView, place: int) -> Answer:
    """Let in, or put off by name, or without a slot, or behind another request."""
    plan, view = made.checked, made.view
    for entry in plan.admit:
        if entry.request == seen.id:
            doing, detail = _taking_in(seen, plan.chunk.get(seen.id))
            if detail:
                doing = Message("why.doing", verdict=doing, detail=detail)
            if entry.reason:
                doing = Message("reason.then", first=entry.reason, second=doing)
            slot = Message("why.slot", slot=seat_of(made.event, seen.id))
            return Answer(seen.id, place, Message("why.let_in"), Message("reason.then", first=slot, second=doing))
    put_off = made.plan.put_off
    if reason := put_off.get(seen.id):
        return Answer(seen.id, place, WAITS, reason)
    for other, reason in put_off.items():
        return Answer(seen.id, place, WAITS, Message("why.behind_put_off", request=other, reason=reason))
    if view.free_slots - _held(made) <= len(plan.admit):  # slots that a preemption empties are known only afterwards
        last = Message("why.slot_taken", request=plan.admit[-1].request) if plan.admit else Message("why.no_slot")
        return Answer(seen.id, place, WAITS, last)
    return Answer(seen.id, place, WAITS, Message("why.asked_again", answer=_asked_again(made, seen)))


def _held(made: Decision) -> int:
    return len(made.view.finished) if made.checked.hold_all else len(made.checked.hold)


def _asked_again(made: Decision, seen: RequestView) -> Message:
    """What would have to be otherwise, for a policy that gives no reason: it is asked with one thing changed."""
    view = made.view
    everything = sum(view.blocks_for(r.most) for r in (*view.waiting, *view.running))
    first: Sequence[RequestView] = (seen, *(r for r in view.waiting if r.id != seen.id))
    plenty = replace(view, free_blocks=view.free_blocks + everything, total_blocks=view.total_blocks + everything)
    empty = replace(
        view, running=(), finished=(), free_slots=view.slots, free_blocks=view.total_blocks, last_admission=None
    )
    changes = {
        "why.if_blocks": plenty,
        "why.if_first": replace(view, waiting=first),
        "why.if_first_and_blocks": replace(plenty, waiting=first),
        "why.if_alone": empty,
        "why.if_first_and_alone": replace(empty, waiting=first),
    }
    for change, otherwise in changes.items():
        try:
            if _lets_in(made.policy, otherwise, seen.id):
                return Message(change)
        except PlanTimeout:
            return Message("why.no_plan", seconds=SECONDS_TO_REPLAN)
    return Message("why.never")


def _lets_in(policy: Policy, view: View, request: int) -> bool:
    try:
        plan = check(PolicyTimeout().limit(lambda: fresh(policy).plan(view), SECONDS_TO_REPLAN), view)
    except Exception:  # a learner's policy, in a situation that it may never have met
        return False
    return any(entry.request == request for entry in plan.admit)
