"""Two runs of the same work, beside each other: how much faster, why, and with the same answers?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.latency import completed
from cbviz.trace import Trace


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where two outputs of one request part.

    `position` counts output tokens from 0; `tokens` are what the first and the second run gave there, None where the
    output had ended.
    """

    request: int
    position: int
    tokens: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The first run over the second; above 1 the second is better.

    Attributes
    ----------
    iterations
        How many each took.
    seconds
        Each lane's, to the end of its last iteration.
    busy_seconds
        Each lane's time inside iterations: without the jumps to the next arrival when nobody was there.
    iteration_ratio
        Iterations of the first / of the second: what scheduling alone is worth.
    iteration_cost_ratio
        Mean seconds of an iteration of the first / of the second. Below 1, the second's iterations are dearer: fuller
        batches cost more, and prefills are spread over more of them.
    speedup
        Seconds of the first / of the second. Where both are always busy, it is exactly
        iteration_ratio × iteration_cost_ratio.
    identical_outputs
        Whether every request got the same tokens in both.
    divergences
        Where not: the first difference of each request, in order of the request table.
    """

    iterations: tuple[int, int]
    seconds: tuple[float, float]
    busy_seconds: tuple[float, float]
    iteration_ratio: float
    iteration_cost_ratio: float
    speedup: float
    identical_outputs: bool
    divergences: tuple[Divergence, ...]


def compare(first: Trace, second: Trace) -> Comparison:
    """Compare two runs of the same requests.

    The output of a request that was cancelled or cut off is compared as far as it goes.

    Raises
    ------
    MeasureError
        The runs did not have the same requests, or one of them has no iterations or they took no time.
    """
    check_same_work(first, second)
    for trace in (first, second):
        if not _busy(trace):
            raise MeasureError(f"the run of {trace.meta.policy!r} took no time; there is nothing to compare.")
    iterations = (len(first.iterations), len(second.iterations))
    seconds = (first.seconds, second.seconds)
    busy = (_busy(first), _busy(second))
    iteration_ratio = iterations[0] / iterations[1]
    divergences = find_divergences(first, second)
    return Comparison(
        iterations=iterations,
        seconds=seconds,
        busy_seconds=busy,
        iteration_ratio=iteration_ratio,
        iteration_cost_ratio=busy[0] / busy[1] / iteration_ratio,
        speedup=seconds[0] / seconds[1],
        identical_outputs=not divergences,
        divergences=divergences,
    )


def check_same_work(first: Trace, second: Trace) -> None:
    """Raise MeasureError unless both runs had the same requests: ids, prompts, limits, in any order."""
    for trace in (first, second):
        if not isinstance(trace, Trace):
            raise MeasureError(f"only traces can be compared, not {type(trace).__name__}.")
    work = [_work(trace) for trace in (first, second)]
    if work[0] != work[1]:
        odd = min(set(work[0].items()) ^ set(work[1].items()))[0]
        raise MeasureError(
            f"these runs did not do the same work: request {odd} is not the same in both; compare runs of one workload."
        )


def find_divergences(first: Trace, second: Trace) -> tuple[Divergence, ...]:
    """The first difference of every request whose outputs differ, in order of the first run's request table.

    Requests that only one of the runs had are left out.
    """
    done = [dict(zip(t.requests.id.tolist(), completed(t).tolist(), strict=True)) for t in (first, second)]
    other = dict(zip(second.requests.id.tolist(), second.requests.tokens, strict=True))
    found = []
    for request, mine in zip(first.requests.id.tolist(), first.requests.tokens, strict=True):
        if request not in other:
            continue
        theirs = other[request]
        both = min(len(mine), len(theirs))
        unequal = np.flatnonzero(np.array(mine[:both]) != np.array(theirs[:both]))
        if len(unequal):
            place = int(unequal[0])
            found.append(Divergence(request, place, (mine[place], theirs[place])))
        elif len(mine) != len(theirs) and (done[0] if len(mine) < len(theirs) else done[1])[request]:
            # One ended here by itself and the other went on; a run that was cut off proves nothing.
            tokens = (mine[both] if both < len(mine) else None, theirs[both] if both < len(theirs) else None)
            found.append(Divergence(request, both, tokens))
    return tuple(found)


def same_answers(*traces: Trace) -> tuple[int, int]:
    """(same, compared) over the requests whose outputs came to their end in every trace: equal output token ids.

    Raises MeasureError without a trace.
    """
    if not traces or not all(isinstance(trace, Trace) for trace in traces):
        raise MeasureError("answers can only be compared where there is a trace, and nothing but traces.")
    ended = [set(trace.requests.id[completed(trace)].tolist()) for trace in traces]
    common = ended[0].intersection(*ended[1:])
    parted = {place.request for other in traces[1:] for place in find_divergences(traces[0], other)}
    return len(common - parted), len(common)


def _busy(trace: Trace) -> float:
    return float((trace.iterations.t_end - trace.iterations.t_start).sum())


def _work(trace: Trace) -> dict[int, tuple[int, int, str]]:
    rq = trace.requests
    columns = (rq.prompt_tokens.tolist(), rq.max_new_tokens.tolist(), rq.prompt)
    return dict(zip(rq.id.tolist(), zip(*columns, strict=True), strict=True))
