"""What every iteration of a run computed, in the quantities that its time depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cbviz.events import State
from cbviz.measure.checks import a_trace
from cbviz.trace import Trace

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class IterationWork:
    """Work of each iteration, float64 [iterations].

    Attributes
    ----------
    decodes
        Rows that took in one token, held ones included: they are computed, too.
    kv_tokens
        Positions that these rows read, their own included.
    prefill_tokens
        Tokens of the longer rows: chunks of prompts, and what is computed again after a preemption.
    attention
        Σ chunk·(context + chunk/2) over these rows, the context being that before the chunk.
    context
        Positions of the longest row.
    """

    decodes: FloatArray
    kv_tokens: FloatArray
    prefill_tokens: FloatArray
    attention: FloatArray
    context: FloatArray

    def columns(self) -> FloatArray:
        """float64 [iterations, 4]: all but `context`.

        Returns
        -------
        ndarray
            In the order of the attributes.
        """
        return np.column_stack([self.decodes, self.kv_tokens, self.prefill_tokens, self.attention])


def iteration_work(trace: Trace) -> IterationWork:
    """The work of every iteration, from the spans of a run.

    A trace counts the prompt tokens of an iteration, but not how a span of several chunks was cut: its chunks are taken
    to be equal, and then scaled to that count.

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    IterationWork
        One entry an iteration.

    Raises
    ------
    MeasureError
        `trace` is not a trace.

    Examples
    --------
    Two prompts of 2 tokens, then decodes that read 3 positions each:

    >>> import cbviz
    >>> from cbviz.measure.iteration_work import iteration_work
    >>> requests = [cbviz.Request(id=i, prompt=[1, 1], max_new_tokens=2, output_length=2) for i in range(2)]
    >>> work = iteration_work(cbviz.schedule("continuous", cbviz.Workload("two", requests), slots=2))
    >>> work.prefill_tokens.tolist(), work.decodes.tolist(), work.kv_tokens.tolist()
    ([4.0, 0.0], [0.0, 2.0], [0.0, 6.0])
    """
    spans, n = a_trace(trace).spans, len(trace.iterations)
    computed = (spans.state != State.STALLED) & (spans.tokens > 0)
    length = np.where(computed, spans.end - spans.first, 0)
    begin = np.where(spans.state == State.HELD, _before(trace), spans.context - spans.tokens)
    span = np.repeat(np.arange(len(spans)), length)
    step = np.arange(len(span)) - np.repeat(np.cumsum(length) - length, length)
    iteration = spans.first[span] + step
    chunk = spans.tokens[span] / np.maximum(length[span], 1)
    # A held row grows to the end of its blocks, and is computed in place there.
    context = np.minimum(begin[span] + (step + 1) * chunk, spans.context[span])
    one = chunk == 1

    def total(values: FloatArray | IntArray, of: npt.NDArray[np.bool_]) -> FloatArray:
        found: FloatArray = np.bincount(iteration[of], np.asarray(values, float)[of], n).astype(float)
        return found

    longest = np.zeros(n)
    np.maximum.at(longest, iteration, context)
    prefill, attention = total(chunk, ~one), total(chunk * (context - chunk / 2), ~one)
    ones = total(np.isin(spans.state, (State.PREFILL, State.RECOMPUTE))[span].astype(float), one)
    counted = trace.iterations.prefill_tokens + trace.iterations.recompute_tokens - ones
    scale = np.where((prefill > 0) & (counted > 0), counted / np.maximum(prefill, 1), 1.0)
    return IterationWork(
        decodes=total(np.ones(len(span)), one),
        kv_tokens=total(context, one),
        prefill_tokens=prefill * scale,
        attention=attention * scale,
        context=longest,
    )


def _before(trace: Trace) -> IntArray:
    """int64 [spans]: positions that the request had in the slot before each span; 0 where it was not there."""
    spans = trace.spans
    before = np.zeros(len(spans), np.int64)
    same = (spans.slot[1:] == spans.slot[:-1]) & (spans.request[1:] == spans.request[:-1])
    before[1:] = np.where(same, spans.context[:-1], 0)
    return before
