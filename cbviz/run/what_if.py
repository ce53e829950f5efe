"""What other slots, memory or another policy would have done with the requests of a measured run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.definitions import DEFINITIONS, Moments
from cbviz.policies import Policy
from cbviz.run.budgeted import budgeted
from cbviz.run.forecast import forecast
from cbviz.run.traffic_work import work_of
from cbviz.simulator.cost import CostModel
from cbviz.simulator.cost_file import load_cost
from cbviz.workload import LoadResults

SIMULATED_LATENCIES = ("ttft", "tpot", "e2el")


@dataclass(frozen=True, slots=True)
class Option:
    """How the requests might be served: as in `cbviz.forecast`; `budget` bounds the tokens of an iteration."""

    policy: str | Policy = "vllm_v1"
    slots: int = 256
    kv_blocks: int | None = None
    block_size: int = 16
    budget: int | None = None

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
        "ttft", "tpot" and "e2el" → share by which the mean may be wrong: the larger of the cost model's error on
        held-out requests and, where the run itself was simulated, of its error there. NaN if neither is known.
    warnings
        What limits its worth, a sentence each.
    """

    option: Option
    mean: dict[str, float]
    p99: dict[str, float]
    tokens_per_second: float
    uncertainty: dict[str, float]
    warnings: tuple[str, ...]


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
    """

    as_it_ran: WhatIfRow
    error: dict[str, float]
    options: tuple[WhatIfRow, ...]


def what_if(
    results: LoadResults,
    *options: Option,
    cost: CostModel | str | PathLike[str],
    ran: Option | None = None,
) -> WhatIf:
    """Simulate a measured run as it was, and with other settings.

    The run itself comes first: how far its simulation is from the measurement bounds what the others are worth.

    Parameters
    ----------
    results
        The run; its file must tell when requests were sent.
    options
        What to compare it with.
    cost
        A calibration for the same model and device (see `cbviz.calibrate`).
    ran
        The setting that ran; None takes vLLM's: `vllm_v1` with 256 slots.

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
        values = DEFINITIONS["cbviz"][metric][1](moments)
        measured[metric] = values.mean() if values is not None else math.nan
    before = ran if ran is not None else Option()
    own = _simulated(results, before, costs)
    error = {metric: _relative(own.mean[metric], measured[metric]) for metric in SIMULATED_LATENCIES}
    held = costs.origin.held_out if costs.origin is not None else None
    known = (None, None, None) if held is None else (held.ttft, held.tpot, held.e2e)
    doubt = {
        metric: _worst(error[metric], on_others) for metric, on_others in zip(SIMULATED_LATENCIES, known, strict=True)
    }

    def judged(found: WhatIfRow) -> WhatIfRow:
        return WhatIfRow(found.option, found.mean, found.p99, found.tokens_per_second, doubt, found.warnings)

    return WhatIf(judged(own), error, tuple(judged(_simulated(results, option, costs)) for option in options))


def _simulated(results: LoadResults, option: Option, cost: CostModel) -> WhatIfRow:
    found = forecast(
        work_of(results.traffic()),
        budgeted(option.policy, option.budget),
        cost=cost,
        slots=option.slots,
        kv_blocks=option.kv_blocks,
        block_size=option.block_size,
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


def _worst(here: float, on_others: float | None) -> float:
    """The larger of two relative errors; NaN if neither is known."""
    known = [abs(error) for error in (here, math.nan if on_others is None else on_others) if not math.isnan(error)]
    return max(known, default=math.nan)
