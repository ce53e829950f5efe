"""Why was this request not let in? What a policy decided in one iteration of a run, in words.

The verdict is what happened; the reason is the policy's own, told by the very branch of its plan that closed the queue.
For a policy that tells none, it is asked again with one thing changed: more memory, the head of the queue, an empty
engine. Whichever change lets the request in is what it was waiting for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from cbviz.board.language import spoken
from cbviz.checks import shown
from cbviz.engine.thinking import Endless, Thinking
from cbviz.errors import MeasureError
from cbviz.experiments.rerun import Decision, decision, policy_of, seat_of
from cbviz.experiments.why_in_chinese import in_chinese
from cbviz.policies import Policy, RequestView, View, fresh
from cbviz.policies.check import check
from cbviz.trace import FinishReason, State, Trace

SHOWN = 20
"""Waiting requests that a list shows, from the head of the queue."""
PATIENCE = 5.0
"""Seconds for a policy that is asked again."""
PUT_OFF = ", which is put off: "


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
        Why, in words; empty where there is nothing to explain.
    """

    request: int
    place: int | None
    verdict: str
    reason: str = ""

    def text(self, language: str = "en") -> str:
        """One line."""
        if language == "zh":
            queued = f"（队列第 {self.place} 位）" if self.place else ""
            reason = f"——{in_chinese(self.reason)}" if self.reason else ""
            return f"请求 {self.request}{queued}：{in_chinese(self.verdict)}{reason}。"
        queued = f" (number {self.place} in the queue)" if self.place else ""
        return f"request {self.request}{queued}: {self.verdict}{f' — {self.reason}' if self.reason else ''}."

    __str__ = text


@dataclass(frozen=True, slots=True)
class LaneWhy:
    """One iteration of one run: what there was to give away, and what became of whoever was asked about."""

    policy: str
    iteration: int
    setting: str
    answers: tuple[Answer, ...]

    def text(self, language: str = "en") -> str:
        """A line for the iteration, and one for each who was asked about."""
        return "\n".join([self._title(language), *(f"  {answer.text(language)}" for answer in self.answers)])

    __str__ = text

    def html(self, language: str = "en") -> str:
        """A table."""
        told = in_chinese if language == "zh" else str
        rows = "".join(
            f"<tr><td>{a.request}</td><td>{a.place or ''}</td><td>{escape(told(a.verdict))}</td>"
            f'<td style="text-align:left">{escape(told(a.reason))}</td></tr>'
            for a in self.answers
        )
        heads = ("请求", "队列中的位置") if language == "zh" else ("request", "in the queue")
        head = "".join(f"<th>{word}</th>" for word in (*heads, "", ""))
        return (
            f"<p>{escape(self._title(language))}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _title(self, language: str) -> str:
        if language == "zh":
            return f"{self.policy}，第 {self.iteration} 次迭代：{in_chinese(self.setting)}"
        return f"{self.policy}, iteration {self.iteration}: {self.setting}"


@dataclass(frozen=True, slots=True)
class Why:
    """The answer to `why`: one part a lane. Print it; in a notebook it is a table, in the notebook's language."""

    lanes: tuple[LaneWhy, ...]
    language: str = "en"

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

    Raises
    ------
    MeasureError
        There is no such run, iteration or request, or the schedule cannot be run again.
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
    if request is not None and (
        isinstance(request, bool) or not isinstance(request, int | np.integer) or request not in known
    ):
        raise MeasureError(
            f"the run has no request {shown(request)}; it has {len(known)}, from {min(known)} to {max(known)}."
        )
    made = decision(trace, iteration, policy, prompts)
    if request is None:
        queue = [_of_the_queue(made, seen, n) for n, seen in enumerate(made.view.waiting[:SHOWN], 1)]
        return LaneWhy(name or trace.meta.policy, iteration, _setting(made), tuple(map(_shortened, queue)))
    return LaneWhy(name or trace.meta.policy, iteration, _setting(made), (answered(made, trace, request),))


def _setting(made: Decision) -> str:
    view = made.view
    return (
        f"{len(view.running)} running, {len(view.waiting)} waiting; {view.free_slots} of {view.slots} slots and "
        f"{view.free_blocks} of {view.total_blocks} KV blocks free"
    )


def _shortened(answer: Answer) -> Answer:
    """In a list, whoever stands behind somebody need not repeat that one's reason."""
    reason, put_off, _ = answer.reason.partition(PUT_OFF)
    return replace(answer, reason=reason) if put_off else answer


def answered(made: Decision, trace: Trace, request: int) -> Answer:
    """What became of a request in an iteration whose decision is known."""
    view = made.view
    for place, seen in enumerate(view.waiting, 1):
        if seen.id == request:
            return _of_the_queue(made, seen, place)
    for seen in view.running:
        if seen.id == request:
            return _of_the_running(made, seen)
    if any(seen.id == request for seen in view.finished):
        if seat_of(made.event, request) >= 0:
            return Answer(request, None, "held", "its output has ended, and its batch keeps it in the slot to the end")
        return Answer(request, None, "gone", "its output has ended, and it leaves its slot before this iteration")
    return _of_the_absent(trace, request, made.event.index)


def _of_the_absent(trace: Trace, request: int, iteration: int) -> Answer:
    rq = trace.requests
    row = rq.row(request)
    finished = int(rq.finished[row])
    if 0 <= finished <= iteration:
        how = "was cancelled before" if rq.reason[row] == FinishReason.CANCELLED else "ended in"
        return Answer(request, None, "gone", f"it {how} iteration {finished}")
    arrived = int(rq.arrived[row])
    when = f"it comes before iteration {arrived}" if arrived >= 0 else "it never came while the run lasted"
    return Answer(request, None, "not there yet", when)


def _of_the_running(made: Decision, seen: RequestView) -> Answer:
    plan = made.checked
    if seen.id in plan.preempt:
        return Answer(seen.id, None, "thrown out", plan.preempt[seen.id] or "the policy gave no reason")
    if seen.id in plan.pause:
        return Answer(seen.id, None, "stalls", plan.pause[seen.id] or "the policy gave no reason")
    if made.event.state[seat_of(made.event, seen.id)] == State.HELD:
        return Answer(seen.id, None, "held", "its END was still on its way from the device when this was planned")
    return Answer(seen.id, None, *_taking_in(seen, plan.chunk.get(seen.id)))


def _taking_in(seen: RequestView, chunk: int | None) -> tuple[str, str]:
    """What a request does that gets tokens: (verdict, reason)."""
    if chunk is not None and chunk < seen.lacks:
        return "takes in a chunk", f"{chunk} of the {seen.lacks} tokens that it lacks"
    if seen.lacks > 1:
        return "takes in all that it lacks", f"{seen.lacks} tokens"
    return "decodes", ""


def _of_the_queue(made: Decision, seen: RequestView, place: int) -> Answer:
    """Let in, or put off by name, or without a slot, or behind somebody else."""
    plan, view = made.checked, made.view
    for entry in plan.admit:
        if entry.request == seen.id:
            told = [
                f"slot {seat_of(made.event, seen.id)}",
                entry.reason,
                ": ".join(filter(None, _taking_in(seen, plan.chunk.get(seen.id)))),
            ]
            return Answer(seen.id, place, "let in", "; ".join(filter(None, told)))
    put_off = made.plan.put_off
    if reason := put_off.get(seen.id):
        return Answer(seen.id, place, "waits", reason)
    for other, reason in put_off.items():
        return Answer(seen.id, place, "waits", f"behind request {other}{PUT_OFF}{reason}")
    if view.free_slots - _held(made) <= len(plan.admit):  # slots that a preemption empties are known only afterwards
        reason = f"the last free slot went to request {plan.admit[-1].request}" if plan.admit else "no slot is free"
        return Answer(seen.id, place, "waits", reason)
    return Answer(seen.id, place, "waits", _asked_again(made, seen))


def _held(made: Decision) -> int:
    return len(made.view.finished) if made.checked.hold_all else len(made.checked.hold)


def _asked_again(made: Decision, seen: RequestView) -> str:
    """What would have to be otherwise, for a policy that gives no reason: it is asked with one thing changed."""
    view = made.view
    everything = sum(view.blocks_for(r.most) for r in (*view.waiting, *view.running))
    first: Sequence[RequestView] = (seen, *(r for r in view.waiting if r.id != seen.id))
    plenty = replace(view, free_blocks=view.free_blocks + everything, total_blocks=view.total_blocks + everything)
    empty = replace(
        view, running=(), finished=(), free_slots=view.slots, free_blocks=view.total_blocks, last_admission=None
    )
    changes = {
        "if more KV blocks were free": plenty,
        "if it stood first": replace(view, waiting=first),
        "if it stood first and more KV blocks were free": replace(plenty, waiting=first),
        "if nothing else were running": empty,
        "if it stood first and nothing else were running": replace(empty, waiting=first),
    }
    for change, otherwise in changes.items():
        try:
            if _lets_in(made.policy, otherwise, seen.id):
                return f"the policy gave no reason; asked again, it would let it in {change}"
        except Endless:
            return f"the policy gave no reason; asked again, it was not done with its plan after {PATIENCE:g} seconds"
    return (
        "the policy gave no reason; asked again, it would not let it in with more KV blocks, at the head of the queue, "
        "or into an empty engine either"
    )


def _lets_in(policy: Policy, view: View, request: int) -> bool:
    try:
        plan = check(Thinking().let(lambda: fresh(policy).plan(view), PATIENCE), view)
    except Exception:  # a learner's policy, in a situation that it may never have met
        return False
    return any(entry.request == request for entry in plan.admit)
