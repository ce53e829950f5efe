"""TTFT, TPOT, ITL, end-to-end latency and goodput, as each load generator defines them, for one and the same run.

The tools use the same words for different numbers. Sources: vLLM, vllm/benchmarks/serve.py (`calculate_metrics`) and
lib/endpoint_request_func.py; AIPerf 0.13, aiperf/metrics/types; GuideLLM 0.8, schemas/base/request_stats.py and
benchmark/schemas/metrics.py; inference-perf 0.7, reportgen/base.py (`compute_request_latency_metrics`); vLLM's own
histograms, vllm/v1/metrics/stats.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import is_a, shown
from cbviz.errors import MeasureError
from cbviz.events import FinishReason
from cbviz.measure.checks import a_trace
from cbviz.measure.goodput import Targets
from cbviz.measure.latency import arrival_seconds
from cbviz.messages import Message
from cbviz.trace import Trace
from cbviz.workload import LoadResults, Served

FloatArray = npt.NDArray[np.float64]

TOOLS = {
    "cbviz": "cbviz",
    "vllm-bench": "vLLM bench",
    "vllm-server": "vLLM server",
    "aiperf": "AIPerf",
    "guidellm": "GuideLLM",
    "inference-perf": "inference-perf",
}
"""Name → what a table calls it."""

LATENCIES = ("ttft", "tpot", "itl", "e2el")


@dataclass(frozen=True, slots=True)
class Moments:
    """The requests of a run that were served, as columns of seconds; NaN for what is not known.

    `chunk_gaps` are those of all requests, pooled; None if the file does not hold them.
    """

    arrival: FloatArray
    sent: FloatArray
    first: FloatArray
    last: FloatArray
    end: FloatArray
    outputs: FloatArray
    first_chunk: FloatArray
    chunk_gaps: FloatArray | None
    streamed: npt.NDArray[np.bool_]
    """Whether more than one token time is known."""
    chunked: npt.NDArray[np.bool_]
    """Whether the gaps of the request are known, which `chunk_gaps` pools."""

    @classmethod
    def of(cls, results: LoadResults) -> Moments:
        """The columns of a run."""
        good = [one for one in results.served if one.good]

        def column(value: Callable[[Served], float | None]) -> FloatArray:
            found = [value(one) for one in good]
            return np.array([np.nan if entry is None else entry for entry in found], np.float64)

        known = [one.gaps for one in good if one.gaps is not None]
        gaps = np.array([gap for row in known for gap in row], np.float64) if known else None
        first, last, outputs = column(lambda o: o.first), column(lambda o: o.last), column(lambda o: o.output_tokens)
        end = column(lambda o: o.end)
        return cls(
            arrival=column(lambda o: o.arrival),
            sent=column(lambda o: o.sent),
            first=first,
            last=last,
            end=np.where(np.isnan(end), last, end),
            outputs=outputs,
            first_chunk=column(lambda o: o.first_chunk),
            chunk_gaps=gaps,
            streamed=~np.isnan(first) & (outputs > 1),
            chunked=np.array([one.gaps is not None for one in good], bool),
        )

    def per_token(self) -> FloatArray:
        """(last − first) / (output − 1); NaN for outputs of one token."""
        return _divided(self.last - self.first, self.outputs - 1)


@dataclass(frozen=True, slots=True)
class Values:
    """What a definition gives: one number per request or per gap, and their weights if they do not count alike."""

    values: FloatArray
    weights: FloatArray | None = None

    def mean(self) -> float:
        """Weighted if there are weights; NaN if there are no values."""
        known = ~np.isnan(self.values)
        if not known.any():
            return float("nan")
        weights = None if self.weights is None else self.weights[known]
        return float(np.average(self.values[known], weights=weights))

    def percentile(self, p: float) -> float:
        """Linear between values, as numpy's; with weights the least value that reaches the share, as GuideLLM's."""
        known = ~np.isnan(self.values)
        values = self.values[known]
        if not len(values):
            return float("nan")
        if self.weights is None:
            return float(np.percentile(values, p))
        order = np.argsort(values)
        reached = np.cumsum(self.weights[known][order])
        return float(values[order][np.searchsorted(reached, p / 100 * reached[-1])])


Definition = Callable[[Moments], Values | None]


def _plain(values: FloatArray) -> Values:
    return Values(values)


def _gaps(m: Moments) -> Values | None:
    return None if m.chunk_gaps is None else Values(m.chunk_gaps)


def _guidellm_itl(m: Moments) -> Values:
    return Values(m.per_token(), m.outputs - 1)


def _guidellm_tpot(m: Moments) -> Values:
    return Values(_divided(m.last - m.sent, m.outputs), m.outputs)


def _aiperf_itl(m: Moments) -> Values:
    return _plain(_divided(m.last - m.first, np.where(m.outputs > 1, np.maximum(m.outputs - m.first_chunk, 1), 0)))


def _only(values: FloatArray, keep: npt.NDArray[np.bool_]) -> Values:
    return _plain(np.where(keep, values, np.nan))


DEFINITIONS: dict[str, dict[str, tuple[str, Definition]]] = {
    "cbviz": {
        "ttft": ("TTFT", lambda m: _plain(m.first - m.arrival)),
        "tpot": ("TPOT", lambda m: _plain(m.per_token())),
        "itl": ("ITL", _gaps),
        "e2el": ("E2EL", lambda m: _plain(m.last - m.arrival)),
    },
    "vllm-bench": {
        "ttft": ("TTFT", lambda m: _plain(m.first - m.sent)),
        "tpot": ("TPOT", lambda m: _plain(m.per_token())),
        "itl": ("ITL", _gaps),
        "e2el": ("E2EL", lambda m: _plain(m.last - m.sent)),
    },
    "vllm-server": {
        "ttft": ("time_to_first_token_seconds", lambda m: _plain(m.first - m.sent)),
        "tpot": ("request_time_per_output_token_seconds", lambda m: _plain(m.per_token())),
        "itl": ("inter_token_latency_seconds", _gaps),
        "e2el": ("e2e_request_latency_seconds", lambda m: _plain(m.last - m.sent)),
    },
    "aiperf": {
        "ttft": ("Time to First Token", lambda m: _plain(m.first - m.sent)),
        "tpot": ("Inter Token Latency", _aiperf_itl),
        "itl": ("Inter Chunk Latency", _gaps),
        "e2el": ("Request Latency", lambda m: _plain(m.last - m.sent)),
    },
    "guidellm": {
        "ttft": ("time_to_first_token_ms", lambda m: _plain(m.first - m.sent)),
        "tpot": ("time_per_output_token_ms", _guidellm_tpot),
        "itl": ("inter_token_latency_ms", _guidellm_itl),
        "e2el": ("request_latency", lambda m: _plain(m.end - m.sent)),
    },
    "inference-perf": {
        "ttft": ("time_to_first_token", lambda m: _only(m.first - m.sent, m.streamed)),
        "tpot": ("time_per_output_token", lambda m: _only(m.per_token(), m.streamed)),
        "itl": ("inter_token_latency", _gaps),
        "e2el": ("request_latency", lambda m: _plain(m.end - m.sent)),
    },
}
"""Tool → metric → the tool's own name of it, and its rule."""


@dataclass(frozen=True, slots=True)
class Defined:
    """One metric by one tool's definition, in seconds.

    Attributes
    ----------
    metric, tool
        A name of `LATENCIES` and one of `TOOLS`.
    own_name
        What the tool calls it.
    count
        Requests or gaps that it is a mean of.
    mean, median, p99
        NaN if the run does not tell.
    """

    metric: str
    tool: str
    own_name: str
    count: int
    mean: float
    median: float
    p99: float

    @property
    def rule(self) -> Message:
        """What the tool measures, in words."""
        return Message(f"doctor.rule.{self.tool}.{self.metric}")


def by_definition(results: LoadResults) -> tuple[Defined, ...]:
    """Every latency of a run by every tool's definition.

    Parameters
    ----------
    results
        The run, of whatever tool.

    Returns
    -------
    tuple of Defined
        Metric by metric, tool by tool.

    Raises
    ------
    MeasureError
        It is no run, or no request was served.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import by_definition, results_of
    >>> _, run = cbviz.recorded("smollm2-8")
    >>> tpot = {row.tool: row.mean for row in by_definition(results_of(run)) if row.metric == "tpot"}
    >>> f"{tpot['vllm-bench'] * 1e3:.1f} ms, and {tpot['guidellm'] * 1e3:.1f} ms with the first token"
    '3.9 ms, and 11.0 ms with the first token'
    """
    moments = Moments.of(_results(results))
    rows = []
    for metric in LATENCIES:
        for tool in TOOLS:
            own_name, rule = DEFINITIONS[tool][metric]
            found = rule(moments)
            if found is None:
                found = _plain(np.array([]))
            count = int((~np.isnan(found.values)).sum())
            rows.append(
                Defined(metric, tool, own_name, count, found.mean(), found.percentile(50), found.percentile(99))
            )
    return tuple(rows)


def goodput_by_definition(results: LoadResults, targets: Targets) -> dict[str, float]:
    """Requests a second that met every target, as each tool counts them.

    Parameters
    ----------
    results
        The run.
    targets
        In seconds.

    Returns
    -------
    dict of str to float
        Tool → requests a second; NaN where the file does not tell how long the run took. A duration that its requests
        contradict does not count. For a request of one token,
        which has no time per output token, vLLM counts 0, AIPerf and inference-perf count the target as missed, and
        GuideLLM leaves the request out.

    Raises
    ------
    MeasureError
        It is no run, or `targets` are none.
    """
    if not is_a(targets, Targets):
        raise MeasureError(f"targets must be Targets(ttft=…, tpot=…, e2el=…), not {shown(targets)}.")
    m = Moments.of(_results(results))
    span = float(np.max(m.end) - np.min(m.sent))
    duration = None if results.contradicted else results.duration
    wall = duration if duration is not None else float(np.max(m.end) - np.min(m.arrival))
    if not results.timed:
        span = wall = duration if duration is not None else float("nan")
    found = {}
    for tool, rules in DEFINITIONS.items():
        good = np.ones(len(m.sent), bool)
        for metric, most in (("ttft", targets.ttft), ("tpot", targets.tpot), ("e2el", targets.e2el)):
            if most is None:
                continue
            # GuideLLM holds a target for TPOT against its inter-token latency, which leaves out the first token.
            name = "itl" if tool == "guidellm" and metric == "tpot" else metric
            values = rules[name][1](m)
            assert values is not None
            one_token = 0.0 if tool in ("cbviz", "vllm-bench") and metric == "tpot" else np.inf
            good &= np.where(np.isnan(values.values), one_token, values.values) <= most
        seconds = wall if tool in ("cbviz", "vllm-bench", "guidellm") else span
        found[tool] = float(good.sum() / seconds) if seconds > 0 else float("nan")
    return found


def results_of(trace: Trace) -> LoadResults:
    """A trace of cbviz as what a load generator would have seen of it, each iteration's tokens arriving at its end.

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    LoadResults
        Requests that were not finished have an error; they were in flight until they were cancelled, or the run ended.

    Raises
    ------
    MeasureError
        It is no trace, or holds no request.
    """
    rq, it = a_trace(trace).requests, trace.iterations
    if not len(rq):
        raise MeasureError("the trace holds no request.")
    arrivals = arrival_seconds(trace)
    served = []
    for row in range(len(rq)):
        came = float(arrivals[row])
        times = [float(it.t_end[i]) for i in rq.token_iterations[row]]
        ended = int(rq.reason[row]) >= 0 and int(rq.reason[row]) != FinishReason.CANCELLED
        admitted, finished = int(rq.admitted[row]), int(rq.finished[row])
        if np.isnan(came) or came > trace.seconds:  # it never arrived
            continue
        end = times[-1] if ended and times else trace.seconds
        if not ended and 0 <= finished < len(it):  # cancelled before that iteration
            end = max(came, *times, float(it.t_start[finished]))
        served.append(
            Served(
                id=str(rq.id[row]),
                arrival=came,
                sent=came,
                first=times[0] if times else None,
                last=times[-1] if times else None,
                end=end,
                input_tokens=int(rq.prompt_tokens[row]),
                output_tokens=len(times),
                gaps=tuple(b - a for a, b in pairwise(times)) if times else None,
                scheduled=float(it.t_start[admitted]) if admitted >= 0 else None,
                client=rq.client[row] or None,
                error="" if ended else "not finished",
                given_up=not ended,
                priority=int(rq.priority[row]),
                max_new_tokens=int(rq.max_new_tokens[row]),
            )
        )
    if not served:
        raise MeasureError("no request of the trace arrived.")
    clients = trace.meta.extra.get("closed_loop_clients")
    clients = clients if type(clients) is int and 0 < clients < 2**31 else None
    return LoadResults(
        tool="cbviz",
        name=f"{trace.meta.policy}",
        served=tuple(sorted(served, key=lambda one: one.sent)),
        duration=trace.seconds,
        settings={
            "policy": trace.meta.policy,
            "slots": trace.meta.slots,
            "model": trace.meta.model,
            "block_size": trace.meta.block_size,
            "kv_blocks": trace.meta.total_blocks,
            "lag": trace.meta.lag,
            "parameters": dict(trace.meta.extra),
        },
        closed=clients is not None if clients or trace.meta.workload else None,  # a server that was watched names none
        concurrency=clients,
    )


def _divided(values: FloatArray, by: Any) -> FloatArray:
    """Quotients; NaN where the divisor is not above 0."""
    divisor = np.asarray(by, np.float64)
    quotients = np.full(len(values), np.nan)
    np.divide(values, divisor, out=quotients, where=divisor > 0)
    return quotients


def _results(value: Any) -> LoadResults:
    if not is_a(value, LoadResults):
        raise MeasureError(f"a run is needed, such as read_results(path)[0], not {shown(value)}.")
    run: LoadResults = value
    if not any(one.good for one in run.served):
        raise MeasureError(f"no request of {run.name} was served, so there is nothing to measure.")
    return run
