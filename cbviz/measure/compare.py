"""Two runs of the same work compared: how much faster one is, why, and whether the answers are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cbviz.checks import counted
from cbviz.errors import MeasureError
from cbviz.measure.latency import completed
from cbviz.trace import Trace


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference between two outputs of one request.

    Attributes
    ----------
    request
        Its id.
    position
        Index of the output token, from 0.
    tokens
        The tokens of the first and the second run there; None if the output had ended.
    """

    request: int
    position: int
    tokens: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ratios of a first run over a second; above 1 the second is better.

    Attributes
    ----------
    iterations
        Iterations of each run.
    seconds
        Lane seconds of each run, to the end of its last iteration.
    busy_seconds
        Seconds of each run inside iterations, without the jumps to the next arrival while there was no request.
    iteration_ratio
        Iterations of the first / of the second: what scheduling alone is worth.
    iteration_cost_ratio
        Mean seconds of an iteration of the first / of the second. Below 1, the second's iterations cost more: its
        batches are fuller, and more of them contain prefills.
    speedup
        Seconds of the first / of the second. If both are always busy, it is exactly
        iteration_ratio × iteration_cost_ratio.
    identical_outputs
        Whether every request got the same tokens in both runs.
    divergences
        The first difference of each request whose outputs differ, in order of the request table.
    """

    iterations: tuple[int, int]
    seconds: tuple[float, float]
    busy_seconds: tuple[float, float]
    iteration_ratio: float
    iteration_cost_ratio: float
    speedup: float
    identical_outputs: bool
    divergences: tuple[Divergence, ...]

    def __repr__(self) -> str:
        first, second = self.iterations
        differ = len(self.divergences)
        parted = f"{counted(differ, 'answer')} {'differs' if differ == 1 else 'differ'}"
        answers = "same answers" if self.identical_outputs else parted
        return f"<Comparison: {first} and {counted(second, 'iteration')}, {answers}>"


def compare(first: Trace, second: Trace) -> Comparison:
    """Compare two runs of the same requests.

    The output of a request that was cancelled or cut off is compared as far as it goes.

    Parameters
    ----------
    first, second
        The runs.

    Returns
    -------
    Comparison
        Ratios of the first over the second, and differing outputs.

    Raises
    ------
    MeasureError
        The runs did not have the same requests, or one of them took no time.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import compare
    >>> found = compare(*cbviz.recorded("smollm2-8"))
    >>> found.iterations
    (631, 288)
    >>> f"{found.speedup:.2f} = {found.iteration_ratio:.2f} × {found.iteration_cost_ratio:.2f}"
    '2.14 = 2.19 × 0.98'
    """
    check_same_work(first, second)
    for trace in (first, second):
        if not _busy(trace):
            raise MeasureError(f"the run of {trace.meta.policy!r} took no time; there is nothing to compare.")
    iterations = (len(first.iterations), len(second.iterations))
    seconds = (first.seconds, second.seconds)
    busy = (_busy(first), _busy(second))
    ratio = iteration_ratio(first, second)
    divergences = find_divergences(first, second)
    return Comparison(
        iterations=iterations,
        seconds=seconds,
        busy_seconds=busy,
        iteration_ratio=ratio,
        iteration_cost_ratio=busy[0] / busy[1] / ratio,
        speedup=speedup(first, second),
        identical_outputs=not divergences,
        divergences=divergences,
    )


def speedup(first: Trace, last: Trace) -> float:
    """Seconds of the first run / seconds of the last: above 1 where the last is quicker."""
    _check_ran(last)
    return first.seconds / last.seconds


def iteration_ratio(first: Trace, last: Trace) -> float:
    """Iterations of the first run / iterations of the last."""
    _check_ran(last)
    return len(first.iterations) / len(last.iterations)


def _check_ran(last: Trace) -> None:
    if not len(last.iterations):
        raise MeasureError("the last run was stopped before its first iteration, so there is no ratio to it.")


def check_same_work(first: Trace, second: Trace) -> None:
    """Raise MeasureError unless both runs had the same requests (ids, prompts and limits), in any order.

    Where limits differ, equal numbers of output tokens will do: an engine whose outputs cannot be forced to a length
    gets that length as the limit.
    """
    for trace in (first, second):
        if not isinstance(trace, Trace):
            raise MeasureError(f"only traces can be compared, not {type(trace).__name__}.")
    work, other = (_work(trace) for trace in (first, second))
    different = [id for id in work.keys() | other.keys() if not _alike(work.get(id), other.get(id))]
    if different:
        odd = min(different)
        raise MeasureError(
            f"these runs did not do the same work: request {odd} is not the same in both; compare runs of one workload."
        )


def find_divergences(first: Trace, second: Trace) -> tuple[Divergence, ...]:
    """The first difference of every request whose outputs differ, in order of the first run's request table.

    Requests that only one of the runs had are skipped.
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
            # One output ended here and the other continued; a run that was cut off proves nothing.
            tokens = (mine[both] if both < len(mine) else None, theirs[both] if both < len(theirs) else None)
            found.append(Divergence(request, both, tokens))
    return tuple(found)


def same_answers(*traces: Trace) -> tuple[int, int]:
    """Count the requests with equal output tokens in every trace, among those that completed in every trace.

    Parameters
    ----------
    traces
        At least one run.

    Returns
    -------
    tuple[int, int]
        (same, compared).

    Raises
    ------
    MeasureError
        There is no trace, or an argument is not one.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import same_answers
    >>> same_answers(*cbviz.recorded("smollm2-8"))  # bfloat16 on a GPU: two near ties fell the other way
    (46, 48)
    """
    if not traces or not all(isinstance(trace, Trace) for trace in traces):
        raise MeasureError("answers are compared between traces: give at least one, and nothing else.")
    ended = [set(trace.requests.id[completed(trace)].tolist()) for trace in traces]
    common = ended[0].intersection(*ended[1:])
    parted = {place.request for other in traces[1:] for place in find_divergences(traces[0], other)}
    return len(common - parted), len(common)


def _busy(trace: Trace) -> float:
    return float((trace.iterations.t_end - trace.iterations.t_start).sum())


class _Asked(NamedTuple):
    """A request, as it can be compared between runs."""

    prompt_tokens: int
    prompt: str
    limit: int
    received: int
    """Output tokens; -1 if it did not complete."""


def _work(trace: Trace) -> dict[int, _Asked]:
    rq = trace.requests
    received = np.where(completed(trace), [len(tokens) for tokens in rq.tokens], -1)
    columns = (rq.prompt_tokens.tolist(), rq.prompt, rq.max_new_tokens.tolist(), received.tolist())
    return dict(zip(rq.id.tolist(), map(_Asked, *columns), strict=True))


def _alike(one: _Asked | None, other: _Asked | None) -> bool:
    if one is None or other is None or one[:2] != other[:2]:
        return False
    return one.limit == other.limit or one.received == other.received >= 0
