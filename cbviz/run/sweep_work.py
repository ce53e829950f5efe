"""What a sweep computes unless it is given a function: a workload served on the virtual clock."""

from __future__ import annotations

from functools import cache
from typing import Any

from cbviz.errors import WorkloadError
from cbviz.measure.goodput import Targets
from cbviz.run.budgeted import budgeted
from cbviz.run.forecast import forecast
from cbviz.run.traffic_work import work_of
from cbviz.run.under_load import figures
from cbviz.simulator.work import Work
from cbviz.workload import AllAtOnce, ExponentialClipped, Fixed, GammaBursty, Traffic, Uniform, read_traffic

SPREADS = ("ttft", "tpot", "e2e", "queue")
LEFT_OUT = ("policy", "slots", "cost", "wall_seconds", "requests_per_wall_second", "warnings")
"""Figures that are parameters already, or that differ from run to run of the same cell."""


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
    burstiness
        Shape of the gaps: 1 is Poisson. Not with a trace.
    lengths, output_tokens, max_new_tokens, prompt_tokens
        The law of outputs ("exponential", "uniform" or "fixed"), its mean and its longest output; tokens of each
        prompt. Not with a trace.
    trace
        A file of traffic (see `cbviz.workload.read_traffic`), resampled with the seed.
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
    if trace is not None:
        traffic = _traffic(trace).resampled(requests, seed)
        work = work_of(traffic if rate is None else traffic.at_rate(rate))
    else:
        law = _law(lengths, output_tokens, max_new_tokens)
        arrivals = AllAtOnce() if rate is None else GammaBursty(rate, burstiness)
        work = Work.draw(requests, law, arrivals, prompt_tokens=prompt_tokens, seed=seed)
    found = forecast(
        work,
        budgeted(policy, budget),
        cost=cost,
        slots=slots,
        block_size=block_size,
        kv_blocks=kv_blocks,
        lag=lag,
    )
    wanted = {"ttft": target_ttft, "tpot": target_tpot, "e2el": target_e2e}
    targets = Targets(**wanted) if any(value is not None for value in wanted.values()) else None
    table: dict[str, Any] = {}
    for name, value in figures(found, targets, dollars_per_hour).items():
        if name in SPREADS:
            table |= {
                f"{name}_{part}": None if value is None else value[part] for part in ("mean", "p50", "p90", "p99")
            }
        elif name not in LEFT_OUT:
            table[name] = value
    table["warnings"] = len(found.warnings)
    return table


@cache
def _traffic(path: str) -> Traffic:
    """A file of traffic, read once by each process."""
    return read_traffic(path)


def _law(name: str, mean: int, most: int | None) -> Any:
    if name == "fixed":
        return Fixed(mean)
    if name == "uniform":
        return Uniform(1, 2 * mean - 1 if most is None else most)
    if name == "exponential":
        return ExponentialClipped(mean=mean, cap=4 * mean if most is None else most)
    raise WorkloadError(f"lengths must be exponential, uniform or fixed, not {name!r:.80}.")
