"""The least time that a run could have taken: what its schedule must move and compute, at measured rates.

Decoding is bound by memory: every forward pass reads all weights once, whatever the batch, and the cached keys and
values of every request in it (Pope et al., MLSys 2023, §2; the roofline model: Williams, Waterman & Patterson, CACM 52,
2009). Prompts are bound by arithmetic. Nothing else counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.measure.checks import a_trace, number
from cbviz.trace import Trace
from cbviz.trace.trace import FloatArray


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a forward pass of a model moves and computes.

    Attributes
    ----------
    weight_bytes
        Read by every pass: all weights except an embedding table, of which a pass looks up a few rows only. A table
        that is also the output layer is read whole.
    parameters
        All of them, the embedding table included: two operations each per token, as the field counts.
    kv_bytes_per_token
        Keys and values of one position.
    """

    weight_bytes: float
    parameters: float
    kv_bytes_per_token: float

    def __post_init__(self) -> None:
        for name in ("weight_bytes", "parameters", "kv_bytes_per_token"):
            object.__setattr__(self, name, number(name, getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device reaches: bytes per second (read plus written) and floating-point operations per second."""

    bandwidth: float
    flops: float

    def __post_init__(self) -> None:
        for name in ("bandwidth", "flops"):
            object.__setattr__(self, name, number(name, getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Floor:
    """The least seconds of a run, and their parts.

    Attributes
    ----------
    seconds
        weights + kv + prompts + arithmetic.
    weights, kv
        Reading the weights once per iteration, and the cache of the decoding requests.
    prompts
        Computing prompt tokens, including those recomputed after a preemption.
    arithmetic
        What decoding takes beyond its reading, if so many rows decode that computing takes longer; usually 0.
    tokens_per_second
        The run's output tokens over `seconds`.
    """

    seconds: float
    weights: float
    kv: float
    prompts: float
    arithmetic: float
    tokens_per_second: float


def floor(trace: Trace, model: ModelFacts, rates: Rates) -> Floor:
    """The least time of the schedule that a trace recorded.

    Each iteration costs

        max((weights + KV of the rows that decode) / bandwidth, 2 · parameters · rows that decode / FLOPS)
        + 2 · parameters · prompt tokens / FLOPS

    A decoding row reads the positions that it attends to, its own included. Held rows are waste and cost nothing here;
    the iterations that they cause do. Attention's own operations, writes, activations, and what a later chunk of a
    prompt reads of the earlier ones are left out.

    Two conventions put it slightly above a strict bound. All parameters count for all prompt tokens, though the
    embedding table computes nothing and the output layer is needed only where a token is drawn; and prompts do not
    overlap with reading, though they could. A model that fits into the device's caches can beat it altogether. With
    3.02 TB/s and 798 TFLOP/s, a model of Llama-3.1-8B's shape and the yardstick workload it gives 3,557 tokens per
    second on 32 slots (948 iterations) and 10,692 on 128 (853 iterations).

    Parameters
    ----------
    trace
        The run.
    model
        What a pass of its model moves and computes.
    rates
        What the device reaches.

    Returns
    -------
    Floor
        The seconds and their parts.

    Raises
    ------
    MeasureError
        The trace has no output token, or an argument has the wrong type.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure.roofline_bound import ModelFacts, Rates, floor
    >>> _, continuous = cbviz.recorded("llama-8b-32")
    >>> model = ModelFacts(weight_bytes=15.01e9, parameters=8.03e9, kv_bytes_per_token=131_072)
    >>> least = floor(continuous, model, Rates(bandwidth=3.02e12, flops=798e12))
    >>> f"{least.seconds:.2f} s of {continuous.seconds:.2f} s"
    '5.24 s of 6.37 s'
    """
    for name, value, kind in (("model", model, ModelFacts), ("rates", rates, Rates)):
        if not isinstance(value, kind):
            raise MeasureError(f"{name} must be {kind.__name__}(...), not {shown(value)}.")
    if not a_trace(trace).output_tokens:
        raise MeasureError("the trace has no output token, so there is no floor under its time.")
    it = trace.iterations
    context, rows = decoding(trace)
    reading = (model.weight_bytes + model.kv_bytes_per_token * context) / rates.bandwidth
    computing = 2 * model.parameters * rows / rates.flops
    weights = len(it) * model.weight_bytes / rates.bandwidth
    kv = model.kv_bytes_per_token * float(context.sum()) / rates.bandwidth
    prompts = 2 * model.parameters * float((it.prefill_tokens + it.recompute_tokens).sum()) / rates.flops
    arithmetic = float(np.maximum(computing - reading, 0).sum())
    seconds = weights + kv + prompts + arithmetic
    return Floor(seconds, weights, kv, prompts, arithmetic, trace.output_tokens / seconds)


def decoding(trace: Trace) -> tuple[FloatArray, FloatArray]:
    """Per iteration: positions that decoding rows attend to, and decoding rows. float64 [iterations] each."""
    spans, n = trace.spans, len(trace.iterations)
    chosen = spans.state == State.DECODE
    first, length = spans.first[chosen], (spans.end - spans.first)[chosen]
    # A decoding row grows by one position per iteration, so a span's contexts count up to its last one.
    begin = np.repeat(np.cumsum(length) - length, length)
    step = np.arange(int(length.sum())) - begin
    iteration = np.repeat(first, length) + step
    context = np.repeat(spans.context[chosen] - length + 1, length) + step
    return np.bincount(iteration, context, n).astype(float), np.bincount(iteration, minlength=n).astype(float)
