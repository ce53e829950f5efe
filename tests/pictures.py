"""Schedules on an executor without a model: requests to write down by hand, and pictures to read the runs from."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.events import Iteration, State
from cbviz.policies import Policy
from cbviz.workload.request import ArrivalUnit, Request

UNUSEFUL = {State.IDLE: ".", State.HELD: "h", State.STALLED: "s", State.RECOMPUTE: "r"}


def requests(
    outputs: Sequence[int], prompts: Sequence[int] | None = None, arrivals: Sequence[float] | None = None
) -> list[Request]:
    """Requests 1, 2, … with forced output lengths; prompts of one token by default."""
    return [
        Request(
            i + 1,
            tuple(range(1, (prompts[i] if prompts else 1) + 1)),
            max_new_tokens=output,
            output_length=output,
            arrival=arrivals[i] if arrivals else 0.0,
        )
        for i, output in enumerate(outputs)
    ]


def run(
    policy: Policy,
    slots: int,
    work: list[Request],
    *,
    lag: int = 0,
    blocks: int = 4000,
    size: int = 1,
    unit: ArrivalUnit = "iterations",
) -> list[Iteration]:
    """Serve the work; an iteration takes one second. Blocks of one position make memory easy to count by hand."""
    pool = BlockPool(blocks, size)
    engine = Engine(NullExecutor(seconds=1.0), policy, slots=slots, pool=pool, lag=lag, arrival_unit=unit)
    return list(engine.run(work))


def picture(run: Sequence[Iteration]) -> list[str]:
    """One line a slot: the request's digit where it is useful, a letter where not.

    h held, s stalled, r recomputes, . idle.
    """
    return [
        "".join(UNUSEFUL.get(State(it.state[slot]), str(it.request[slot])) for it in run)
        for slot in range(run[0].slots)
    ]


def tokens(run: Sequence[Iteration]) -> list[list[int]]:
    """One list a slot: the tokens that it took in, iteration by iteration."""
    return [[int(it.tokens[slot]) for it in run] for slot in range(run[0].slots)]


def reasons(run: Sequence[Iteration]) -> list[tuple[int, str, int, str]]:
    """(iteration, what happened, request, the policy's reason), in order."""
    return [
        (it.index, what, mark.request, mark.reason)
        for it in run
        for what, marks in (("admitted", it.admitted), ("preempted", it.preempted), ("stalled", it.stalled))
        for mark in marks
    ]
