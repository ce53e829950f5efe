"""Goodput: requests per second that met their latency targets (DistServe, OSDI'24, as vLLM measures it)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from cbviz.checks import finite, shown
from cbviz.errors import MeasureError
from cbviz.measure.latency import BoolArray, Delivery, Latencies, latencies
from cbviz.trace import Trace


@dataclass(frozen=True, slots=True)
class Targets:
    """Latency targets; a request meets one if it takes at most that long.

    Attributes
    ----------
    ttft, tpot, e2el
        Seconds; None sets no target. At least one is set.

    Raises
    ------
    MeasureError
        No target is set, or one is not a finite number above 0.
    """

    ttft: float | None = None
    tpot: float | None = None
    e2el: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            seconds = finite(value)
            if seconds is None or seconds <= 0:
                raise MeasureError(
                    f"the target for {field.name} must be a number of seconds above 0, not {shown(value)}."
                )
            object.__setattr__(self, field.name, seconds)
        if self.ttft is None and self.tpot is None and self.e2el is None:
            raise MeasureError("goodput needs at least one target: ttft, tpot or e2el, in seconds.")


MLPERF: dict[str, Targets] = {
    "llama2-70b": Targets(ttft=2.0, tpot=0.2),
    "llama2-70b-interactive": Targets(ttft=0.45, tpot=0.04),
    "llama3.1-8b": Targets(ttft=2.0, tpot=0.1),
    "llama3.1-8b-interactive": Targets(ttft=0.5, tpot=0.03),
    "llama3.1-405b": Targets(ttft=6.0, tpot=0.175),
    "llama3.1-405b-interactive": Targets(ttft=4.5, tpot=0.08),
    "deepseek-r1": Targets(ttft=2.0, tpot=0.08),
    "deepseek-r1-interactive": Targets(ttft=1.5, tpot=0.015),
}
"""The limits of MLPerf Inference's server scenarios (loadgen, mlperf.conf). MLPerf requires that the 99th percentile of
a run stays below them; here each request must meet them, so that a late request costs one request, not the run."""


def meets(trace: Trace, targets: Targets | str, delivery: Delivery = "stream") -> BoolArray:
    """Which requests completed within every target. An output of one token counts as a TPOT of 0, as in vLLM.

    Parameters
    ----------
    trace
        The run.
    targets
        Targets, or the name of a preset of `MLPERF`.
    delivery
        When the client receives its tokens (see `cbviz.measure.latency.Delivery`).

    Returns
    -------
    ndarray
        bool [requests].

    Raises
    ------
    MeasureError
        The preset or the delivery is unknown, or an argument has the wrong type.
    """
    return within(latencies(trace, delivery), targets)


def within(found: Latencies, targets: Targets | str) -> BoolArray:
    """Which requests completed within every target, from latencies that are known already.

    Parameters
    ----------
    found
        Latencies of a run, recorded or simulated.
    targets
        As in `meets`.

    Returns
    -------
    ndarray
        bool [requests].

    Raises
    ------
    MeasureError
        The preset is unknown, or it is no `Targets`.
    """
    if isinstance(targets, str):
        if targets not in MLPERF:
            raise MeasureError(f"there is no preset {shown(targets)}; choose one of {', '.join(MLPERF)}.")
        targets = MLPERF[targets]
    if not isinstance(targets, Targets):
        raise MeasureError(f"targets must be Targets(...) or the name of a preset, not {shown(targets)}.")
    good = found.completed.copy()
    for value, most in (
        (found.ttft, targets.ttft),
        (np.where(found.output_tokens > 1, found.tpot, 0.0), targets.tpot),
        (found.e2el, targets.e2el),
    ):
        if most is not None:
            good &= value <= most
    return good


def goodput(trace: Trace, targets: Targets | str, delivery: Delivery = "stream") -> float:
    """Requests that meet every target, per second of the run.

    Parameters
    ----------
    trace, targets, delivery
        As in `meets`.

    Returns
    -------
    float
        Requests per second; 0 for a run without duration.

    Raises
    ------
    MeasureError
        As in `meets`.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import Targets, goodput
    >>> targets = Targets(ttft=0.2, tpot=0.01)
    >>> [round(goodput(trace, targets), 1) for trace in cbviz.recorded("smollm2-8")]
    [3.3, 22.8]
    """
    good = int(meets(trace, targets, delivery).sum())
    return good / trace.seconds if trace.seconds else 0.0
