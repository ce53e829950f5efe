"""What a sweep computes unless it is given a function: a workload served on the virtual clock."""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

from cbviz.errors import CbvizError
from cbviz.measure.goodput import Targets
from cbviz.paths import path_of
from cbviz.run.asked_work import AskedWork
from cbviz.run.budgeted import budgeted
from cbviz.run.forecast import forecast, uninterrupted
from cbviz.run.traffic_work import traffic_at, work_of
from cbviz.run.under_load import figures
from cbviz.simulator.forecast import Forecast
from cbviz.simulator.work import Work
from cbviz.workload import Traffic
from cbviz.workload.checks import amount

SPREADS = ("ttft", "tpot", "e2e", "queue")
LEFT_OUT = ("policy", "slots", "cost", "wall_seconds", "compile_seconds", "requests_per_wall_second", "warnings")
"""Figures that are parameters already, or that differ from run to run of the same cell."""

UNITS = {"rate": "requests a second", "tokens_per_second": "tokens a second"}
"""Columns that are called otherwise on the axis of a chart."""

USUAL_REQUESTS = 1_000
LAW_PARAMETERS = ("rate", "clients", "burstiness", "lengths", "output_tokens", "max_new_tokens", "prompt_tokens")
SERVING_PARAMETERS = ("policy", "budget", "cost", "slots", "block_size", "kv_blocks", "lag", "clients")


def simulated(
    *,
    seed: int,
    policy: str = "continuous",
    slots: int = 32,
    cost: str = "h100-llama-3.1-8b",
    requests: int = USUAL_REQUESTS,
    rate: float | None = None,
    burstiness: float | None = None,
    lengths: str | None = None,
    output_tokens: int | None = None,
    max_new_tokens: int | None = None,
    prompt_tokens: int | None = None,
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
        Shape of the gaps at a rate: 1, as is None, is Poisson. Not with a trace.
    lengths, output_tokens, prompt_tokens
        The law of outputs ("exponential", as is None, "uniform" or "fixed") and its mean, before an exponential one is
        clipped; tokens of each prompt. None is 128 of both. Not with a trace.
    max_new_tokens
        The longest output: at least the mean, and not with "fixed". None is 4 times the mean of an exponential law. A
        uniform one is from 1 to this, so that it has either this or a mean. Longer outputs of a trace are cut.
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
    asked = AskedWork(rate, clients, burstiness, lengths, output_tokens, max_new_tokens, prompt_tokens)
    work = _work(asked, trace, requests, seed)
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
    asked, trace, requests, seed = _asked(given), given["trace"], given["requests"], given["seed"]
    work = _work(asked, trace, requests if trace is not None else 1, seed)
    if trace is None and asked.may_come_late(amount("the number of requests", requests)):
        asked.drawn(requests, seed)
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


def seed_decides(parameters: dict[str, Any]) -> bool:
    """Whether the seed may decide if a cell with these parameters is refused, so that `rehearse` needs each."""
    if parameters.get("trace") is not None:
        return True
    requests = parameters.get("requests", USUAL_REQUESTS)
    try:
        return _asked(parameters).may_come_late(amount("the number of requests", requests))
    except CbvizError:  # refused, whatever the seed
        return False


def _asked(parameters: dict[str, Any]) -> AskedWork:
    laws: dict[str, Any] = {name: parameters.get(name) for name in LAW_PARAMETERS}
    return AskedWork(**laws)


def _work(asked: AskedWork, trace: str | None, requests: int, seed: int) -> Work:
    """The requests of a cell."""
    if trace is None:
        return asked.drawn(requests, seed)
    asked.check(of_file=True)
    return work_of(asked.served(_traffic(trace).resampled(requests, seed)))


def _served(work: Work, *, policy: str, budget: int | None, **serving: Any) -> Forecast:
    return uninterrupted(forecast(work, budgeted(policy, budget), **serving))


def _traffic(path: str) -> Traffic:
    """A file of traffic, read once by each process as long as it does not change."""
    try:
        facts = path_of(path, "the file of traffic").stat()
    except OSError:  # a recording by its name, or no file
        return _read(path)
    return _read(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)


@cache
def _read(path: str, *facts: int) -> Traffic:
    return traffic_at(path)


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
