"""What other slots, memory or another policy would have done with the requests of a measured run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError, PolicyError
from cbviz.measure.definitions import DEFINITIONS, Moments
from cbviz.messages import Message
from cbviz.policies import Policy, get
from cbviz.run.budgeted import budgeted
from cbviz.run.forecast import forecast, uninterrupted
from cbviz.run.traffic_work import work_of
from cbviz.simulator.cost import COEFFICIENTS, CostModel
from cbviz.simulator.cost_file import load_cost
from cbviz.workload import LoadResults

SIMULATED_LATENCIES = ("ttft", "tpot", "e2el")


@dataclass(frozen=True, slots=True)
class Option:
    """How the requests might be served: as in `cbviz.forecast`; `budget` bounds the tokens of an iteration.

    Parameters
    ----------
    policy, slots, kv_blocks, block_size, lag
        As in `cbviz.forecast`.
    budget
        Tokens of an iteration, for policies that have such a bound; None leaves the policy's own.
    """

    policy: str | Policy = "vllm_v1"
    slots: int = 256
    kv_blocks: int | None = None
    block_size: int = 16
    budget: int | None = None
    lag: int = 0

    @classmethod
    def of(cls, results: LoadResults, policy: str | Policy | None = None) -> Option:
        """The setting that a trace of cbviz records, or vLLM's defaults for the results of another tool.

        Parameters
        ----------
        results
            The run.
        policy
            What ran, if it is not what the trace says.

        Returns
        -------
        Option
            With the policy's own parameters, the slots, the KV blocks, and the lag that ran.

        Raises
        ------
        MeasureError
            It ran under a policy that is not one of cbviz's own.
        """
        known = results.settings
        if results.tool != "cbviz":
            return cls() if policy is None else cls(policy)
        try:
            chosen = get(str(known["policy"]) if policy is None else policy)
        except PolicyError:
            if policy is not None:
                raise
            raise MeasureError(
                f"the trace ran under {shown(known['policy'])}, which is no policy of cbviz's own; say what to "
                "simulate with ran=Option(policy=…) or --ran."
            ) from None
        if policy is None:  # one of ours, and so a dataclass
            names = {field.name for field in fields(chosen) if field.init} - {"name", "summary"}  # type: ignore[arg-type]
            own = {name: value for name, value in known.get("parameters", {}).items() if name in names}
            chosen = replace(chosen, **own) if own else chosen  # type: ignore[type-var]
        memory: dict[str, int] = {name: known[name] for name in ("kv_blocks", "block_size") if known.get("kv_blocks")}
        return cls(chosen, int(known["slots"]), lag=int(known.get("lag", 0)), **memory)

    def changed(self, **changes: Any) -> Option:
        """This setting with some of its values replaced.

        Parameters
        ----------
        changes
            Fields by name. Another policy has its own budget.

        Returns
        -------
        Option
            All else is as it was.

        Raises
        ------
        MeasureError
            A name is none of a field.
        """
        allowed = [field.name for field in fields(self)]
        for name in changes:
            if name not in allowed:
                raise MeasureError(f"a setting has no {shown(name)}; allowed are {', '.join(allowed)}.")
        given: dict[str, Any] = ({"budget": None} if "policy" in changes else {}) | changes
        return replace(self, **given)

    @property
    def label(self) -> str:
        """A short name for tables."""
        name = self.policy if isinstance(self.policy, str) else self.policy.name
        memory = "" if self.kv_blocks is None else f", {self.kv_blocks:,} blocks"
        budget = "" if self.budget is None else f", {self.budget:,} tokens"
        return f"{name}, {self.slots} slots{memory}{budget}"


@dataclass(frozen=True, slots=True)
class WhatIfRow:
    """What a simulation of one option gives.

    Attributes
    ----------
    option
        What was simulated.
    mean
        "ttft", "tpot" and "e2el" → mean seconds.
    p99
        The same at the 99th percentile.
    tokens_per_second
        Output tokens over the whole run.
    uncertainty
        "ttft", "tpot" and "e2el" → share of the mean by which the true one may differ, the largest of three: what the
        cost model's error on held-out requests amounts to, by how much the measured run differs from its simulation,
        and what becomes of the mean if every iteration is longer or shorter by the error of TPOT. The last counts where
        queues grow: a wait may change by far more than the iterations do. NaN if none is known.
    change
        "ttft", "tpot" and "e2el" → the mean relative to that of the run as it was, −1: least, expected and greatest
        over the same three lengths of iterations. Errors that both share cancel here.
    warnings
        What limits its worth, a sentence each.
    """

    option: Option
    mean: dict[str, float]
    p99: dict[str, float]
    tokens_per_second: float
    uncertainty: dict[str, float]
    warnings: tuple[str, ...]
    change: dict[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The run as it was, simulated, and the options beside it.

    Attributes
    ----------
    as_it_ran
        The simulation of the setting that ran.
    error
        "ttft", "tpot" and "e2el" → simulated / measured − 1 of the means: what the simulator is worth for this run.
    options
        The others.
    clients
        Of the closed loop that was simulated; None where requests came at the times at which they came.
    note
        How requests came in the simulations, where that is not how they would have come; "" where it is.
    """

    as_it_ran: WhatIfRow
    error: dict[str, float]
    options: tuple[WhatIfRow, ...]
    clients: int | None = None
    note: str = ""


def what_if(
    results: LoadResults,
    *options: Option,
    cost: CostModel | str | PathLike[str],
    ran: Option | None = None,
) -> WhatIf:
    """Simulate a measured run as it was, and with other settings.

    The run itself comes first: how far its simulation is from the measurement bounds what the others are worth. Where
    the file says that a request was sent when another had ended, the simulations are closed loops, too.

    Parameters
    ----------
    results
        The run; its file must tell when requests were sent.
    options
        What to compare it with.
    cost
        A calibration for the same model and device (see `cbviz.calibrate`).
    ran
        The setting that ran; None takes that of a trace, or vLLM's: `vllm_v1` with 256 slots.

    Returns
    -------
    WhatIf
        Latencies and throughput with their uncertainty.

    Raises
    ------
    MeasureError
        The times of the run are not known.
    CbvizError
        The cost model cannot be read, or an option cannot serve the requests.
    """
    if not results.timed:
        raise MeasureError(
            f"{results.name} does not say when requests were sent, so no other setting can be simulated."
        )
    costs = load_cost(cost)
    moments = Moments.of(results)
    measured = {}
    for metric in SIMULATED_LATENCIES:
        # In a closed loop a request comes when it is sent, whatever its tool calls its arrival.
        values = DEFINITIONS["vllm-bench" if results.closed else "cbviz"][metric][1](moments)
        measured[metric] = values.mean() if values is not None else math.nan
    before = ran if ran is not None else Option.of(results)
    own = _simulated(results, before, costs)
    error = {metric: _relative(own.mean[metric], measured[metric]) for metric in SIMULATED_LATENCIES}
    # Errors are shares of what was measured, and an uncertainty is one of what was simulated: a simulation that gives a
    # tenth of the truth has an error of -90 %, and the truth is 900 % above it.
    held = costs.origin.held_out if costs.origin is not None else None
    known = (None, None, None) if held is None else (held.ttft, held.tpot, held.e2e)
    doubt = {
        metric: _largest(
            _relative(measured[metric], own.mean[metric]), math.nan if on_others is None else _of_simulated(on_others)
        )
        for metric, on_others in zip(SIMULATED_LATENCIES, known, strict=True)
    }

    spread = max((abs(each) for each in (doubt["tpot"], error["tpot"]) if math.isfinite(each)), default=0.0)
    scaled = [_slower(costs, factor) for factor in (1 / (1 + spread), 1 + spread)] if spread else []
    others_own = [_simulated(results, before, each).mean for each in scaled]

    def judged(found: WhatIfRow, others: list[dict[str, float]]) -> WhatIfRow:
        apart = {
            metric: _largest(doubt[metric], *(_relative(other[metric], found.mean[metric]) for other in others))
            for metric in SIMULATED_LATENCIES
        }
        change = {}
        for metric in SIMULATED_LATENCIES:
            expected = _relative(found.mean[metric], own.mean[metric])
            pairs = zip(others, others_own, strict=True)
            all_of = [expected, *(_relative(other[metric], there[metric]) for other, there in pairs)]
            change[metric] = (min(all_of), expected, max(all_of))
        return replace(found, uncertainty=apart, change=change)

    rows = []
    for option in options:
        found = _simulated(results, option, costs)
        rows.append(judged(found, [_simulated(results, option, each).mean for each in scaled]))
    clients = results.concurrency if results.closed else None
    return WhatIf(judged(own, others_own), error, tuple(rows), clients, _how_they_came(results))


def _how_they_came(results: LoadResults) -> str:
    """What is to be said about the arrivals of the simulations."""
    if results.closed is None:
        return Message("doctor.what_if.replayed")
    if results.concurrency is None:
        return ""
    return Message("doctor.what_if.closed" if results.closed else "doctor.what_if.capped", n=results.concurrency)


def _slower(cost: CostModel, factor: float) -> CostModel:
    """Every iteration takes so many times as long."""
    return replace(cost, **{name: getattr(cost, name) * factor for name in COEFFICIENTS})


def _simulated(results: LoadResults, option: Option, cost: CostModel) -> WhatIfRow:
    work, clients = work_of(results.traffic()), None
    if results.closed and results.concurrency is not None:
        work, clients = replace(work, arrival=np.zeros(len(work))), min(results.concurrency, len(work))
    found = uninterrupted(
        forecast(
            work,
            budgeted(option.policy, option.budget),
            cost=cost,
            slots=option.slots,
            kv_blocks=option.kv_blocks,
            block_size=option.block_size,
            lag=option.lag,
            clients=clients,
        )
    )
    columns: dict[str, Any] = {"ttft": found.ttft, "tpot": found.tpot, "e2el": found.e2e}
    return WhatIfRow(
        option,
        mean={
            name: float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
            for name, values in columns.items()
        },
        p99={
            name: float(np.nanpercentile(values, 99)) if not np.isnan(values).all() else math.nan
            for name, values in columns.items()
        },
        tokens_per_second=found.tokens_per_second,
        uncertainty={},
        warnings=tuple(found.warnings),
    )


def _relative(found: float, measured: float) -> float:
    return found / measured - 1 if measured and not math.isnan(measured) else math.nan


def _of_simulated(error: float) -> float:
    """The most by which what is true may differ from what was simulated, as a share of the latter."""
    return error / (1 - error) if error < 1 else math.inf


def _largest(*errors: float) -> float:
    """The largest of some relative errors; NaN if none is known."""
    return max((abs(error) for error in errors if not math.isnan(error)), default=math.nan)
