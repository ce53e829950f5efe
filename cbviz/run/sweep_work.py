"""What a sweep computes unless it is given a function: a workload served on the virtual clock."""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

from cbviz.checks import shown
from cbviz.errors import WorkloadError
from cbviz.measure.goodput import Targets
from cbviz.run.budgeted import budgeted
from cbviz.run.forecast import forecast, uninterrupted
from cbviz.run.traffic_work import traffic_at, work_of
from cbviz.run.under_load import figures
from cbviz.simulator.forecast import Forecast
from cbviz.simulator.work import Work
from cbviz.workload import AllAtOnce, ExponentialClipped, Fixed, GammaBursty, Traffic, Uniform
from cbviz.workload.checks import amount

SPREADS = ("ttft", "tpot", "e2e", "queue")
LEFT_OUT = ("policy", "slots", "cost", "wall_seconds", "compile_seconds", "requests_per_wall_second", "warnings")
"""Figures that are parameters already, or that differ from run to run of the same cell."""

UNITS = {"rate": "requests a second", "tokens_per_second": "tokens a second"}
"""Columns that are called otherwise on the axis of a chart."""

WORK_PARAMETERS = (
    "seed", "requests", "rate", "clients", "burstiness", "lengths", "output_tokens", "max_new_tokens", "prompt_tokens",
    "trace",
)  # fmt: skip
SERVING_PARAMETERS = ("policy", "budget", "cost", "slots", "block_size", "kv_blocks", "lag", "clients")


def simulated(
    *,
    seed: int,
    policy: str = "continuous",
    slots: int = 32,
    cost: str = "h100-llama-3.1-8b",
    requests: int = 1_000,
    rate: float | None = None,
    burstiness: float = 1.0,
    lengths: str = "exponential",
    output_tokens: int = 128,
    max_new_tokens: int | None = None,
    prompt_tokens: int = 128,
    trace: str | None = None,
    block_size: int = 16,
    kv_blocks: int | None = None,
    budget: int | None = None,
    lag: int = 0,
    clients: int | None = None,
    target_ttft: float | None = None,
    target_tpot: float | None = None,
    target_e2e: float | None = None,
    dollars_per_hour: float | None = None,
) -> dict[str, Any]:
    """Serve requests under one policy on the virtual clock, and return what a table holds of it.

    Parameters
    ----------
    seed
        Of lengths and arrivals, or of the resampling of a trace.
    policy, slots, cost, block_size, kv_blocks, lag
        As for `cbviz.forecast`.
    requests
        How many.
    rate
        Requests a second; None lets all come at once, or, with a trace, at the trace's own rate.
    clients
        A closed loop of so many clients, each of which sends its next request when its last one has ended. Not with a
        rate.
    burstiness
        Shape of the gaps: 1 is Poisson. Not with a trace.
    lengths, output_tokens, max_new_tokens, prompt_tokens
        The law of outputs ("exponential", "uniform" or "fixed"), its mean and its longest output; tokens of each
        prompt. Not with a trace.
    trace
        A file of traffic (see `cbviz.workload.read_traffic`) or a trace of cbviz, resampled with the seed.
    budget
        Tokens of an iteration, for policies that have such a bound.
    target_ttft, target_tpot, target_e2e
        Latency targets in seconds; with one the table has goodput.
    dollars_per_hour
        Price of the machine; with it the table has dollars per million tokens.

    Returns
    -------
    dict
        Name → number or text. Times in seconds; "how" says whether the events were skipped or the loop ran.

    Raises
    ------
    WorkloadError
        A parameter of the workload is out of range.
    CbvizError
        As `cbviz.forecast`.
    """
    work = _work(
        seed=seed,
        requests=requests,
        rate=rate,
        clients=clients,
        burstiness=burstiness,
        lengths=lengths,
        output_tokens=output_tokens,
        max_new_tokens=max_new_tokens,
        prompt_tokens=prompt_tokens,
        trace=trace,
    )
    found = _served(
        work,
        policy=policy,
        budget=budget,
        cost=cost,
        slots=slots,
        block_size=block_size,
        kv_blocks=kv_blocks,
        lag=lag,
        clients=clients,
    )
    table: dict[str, Any] = {}
    for name, value in figures(found, _targets(target_ttft, target_tpot, target_e2e), dollars_per_hour).items():
        if name in SPREADS:
            table |= {
                f"{name}_{part}": None if value is None else value[part] for part in ("mean", "p50", "p90", "p99")
            }
        elif name == "how":
            table[name] = value if value == "loop" else "skipping"  # what is compiled depends on the process
        elif name not in LEFT_OUT:
            table[name] = value
    table["warnings"] = len(found.warnings)
    return table


def rehearse(**parameters: Any) -> dict[str, Any]:
    """Raise what `simulated` would raise for these parameters, without serving its requests.

    Whether a request can be served at all depends on the longest one alone, so that one is served by itself. Of a law
    it is as long as the law allows; of a trace it is the longest that the seed draws.

    Parameters
    ----------
    parameters
        As for `simulated`.

    Returns
    -------
    dict
        Empty, as `cbviz.worker.attempt` expects names and results.

    Raises
    ------
    TypeError
        There is no such parameter.
    CbvizError
        As `simulated`.
    """
    bound = signature(simulated).bind(**parameters)
    bound.apply_defaults()
    given = bound.arguments
    count = amount("the number of requests", given["requests"])
    of_work = {name: given[name] for name in WORK_PARAMETERS}
    work = _work(**of_work | {"requests": count if given["trace"] is not None else 1})
    longest = Work(
        arrival=[0.0],  # type: ignore[arg-type]
        prompt_tokens=[int(work.prompt_tokens.max())],  # type: ignore[arg-type]
        output_tokens=[1],  # type: ignore[arg-type]
        max_new_tokens=[work.longest - int(work.prompt_tokens.max())],  # type: ignore[arg-type]
    )
    found = _served(longest, **{name: given[name] for name in SERVING_PARAMETERS})
    targets = _targets(given["target_ttft"], given["target_tpot"], given["target_e2e"])
    figures(found, targets, given["dollars_per_hour"])
    return {}


def _targets(ttft: float | None, tpot: float | None, e2el: float | None) -> Targets | None:
    return None if ttft is tpot is e2el is None else Targets(ttft, tpot, e2el)


def _work(*, trace: str | None, requests: int, seed: int, rate: float | None, clients: int | None, **law: Any) -> Work:
    """The requests of a cell."""
    if rate is not None and clients is not None:
        raise WorkloadError("rate and clients exclude each other: in a closed loop the clients set the rate.")
    if trace is not None:
        traffic = _traffic(trace).resampled(requests, seed)
        if clients is not None:
            traffic = traffic.with_arrivals(AllAtOnce())
        return work_of(traffic if rate is None else traffic.at_rate(rate))
    lengths = _law(law["lengths"], law["output_tokens"], law["max_new_tokens"])
    arrivals = AllAtOnce() if rate is None else GammaBursty(rate, law["burstiness"])
    return Work.draw(requests, lengths, arrivals, prompt_tokens=law["prompt_tokens"], seed=seed)


def _served(work: Work, *, policy: str, budget: int | None, **serving: Any) -> Forecast:
    return uninterrupted(forecast(work, budgeted(policy, budget), **serving))


@cache
def _traffic(path: str) -> Traffic:
    """A file of traffic, read once by each process."""
    return traffic_at(path)


def _law(name: str, mean: int, most: int | None) -> Any:
    if name == "fixed":
        return Fixed(mean)
    if name == "uniform":
        return Uniform(1, 2 * mean - 1 if most is None else most)
    if name == "exponential":
        return ExponentialClipped(mean=mean, cap=4 * mean if most is None else most)
    raise WorkloadError(f"lengths must be exponential, uniform or fixed, not {shown(name)}.")


def in_words(column: str) -> str:
    """A column of the table as the axis of a chart names it, with its unit.

    Examples
    --------
    >>> in_words("ttft_p99"), in_words("rate"), in_words("in_system")
    ('p99 TTFT in seconds', 'requests a second', 'in system')
    """
    name, _, part = column.rpartition("_")
    if name in SPREADS:
        return f"{part} {name if name == 'queue' else name.upper()} in seconds"
    return UNITS.get(column, column.replace("_", " "))
