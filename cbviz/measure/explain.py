"""Why one run was faster than another: measured beside predicted, with every slot-iteration accounted for.

A speed-up is the product of two ratios: the numbers of iterations, and the costs of an iteration. The first follows
from exact accounting, iterations × slots = useful + held + stalled + recomputed + idle, and if all requests arrive at 0
the output lengths alone predict it. The second is measured, and split by a fitted model of an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import CbvizError, MeasureError
from cbviz.measure.compare import Comparison, compare
from cbviz.measure.latency import completed
from cbviz.measure.makespan import continuous_iterations, static_iterations
from cbviz.measure.slot_use import SlotUse, slot_use
from cbviz.measure.theory import speedup_empirical
from cbviz.trace import Trace

CLOSED_FORMS = ("static", "continuous", "orca", "one_at_a_time")
"""Policies whose iterations follow from the output lengths while memory suffices. Orca, which reserves what a request
declares, is then continuous batching; one request at a time is continuous batching on a single slot."""
FEATURES = ("rows", "prefill tokens", "KV blocks")
FEWEST_ITERATIONS = 20
"""A fit of four coefficients to fewer iterations would mean nothing."""

NOISE = 0.1
"""A cost ratio that the model misses by more than this counts as unexplained."""

LOSSES = {
    "held": "slots held by finished requests until their batch ended",
    "wasted_idle": "slots that were empty while requests waited",
    "spare_idle": "slots that were empty because no request was left for them (the tail)",
    "stalled": "slots whose request was admitted and got no tokens",
    "recompute": "work repeated after a preemption",
}


@dataclass(frozen=True, slots=True)
class SpeedupPrediction:
    """What the output lengths alone predict, if all requests arrive at 0 and prompts are not chunked.

    Attributes
    ----------
    iterations
        Iterations of both runs, by the rule of each policy, for these lengths in this order.
    iteration_ratio
        First / second.
    endless
        S(n) of these lengths: the ratio for an endless queue drawn from them at random. `iteration_ratio` differs from
        it by the order of the requests and the tail of a finite list.
    """

    iterations: tuple[int, int]
    iteration_ratio: float
    endless: float


@dataclass(frozen=True, slots=True)
class CostSplit:
    """Why an iteration of one run costs more than one of the other, by a model fitted to the iterations of both.

    seconds ≈ fixed + row · rows + prefill_token · prefill tokens + kv_block · KV blocks, by least squares without
    negative coefficients. Held rows count as rows, recomputed tokens as prefill tokens.

    Attributes
    ----------
    fixed, row, prefill_token, kv_block
        Seconds; 0 if the runs show no cost.
    factors
        How much each feature changes the mean cost, first run over second; their product is the model's cost ratio.
    rest
        Measured cost ratio / the model's: what the model does not explain.
    r_squared
        Share of the variance of iteration times that the model explains.
    """

    fixed: float
    row: float
    prefill_token: float
    kv_block: float
    factors: dict[str, float]
    rest: float
    r_squared: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The difference between two runs of the same work. Print it.

    Attributes
    ----------
    policies, slots, requests
        Names of both policies, slots of both, requests of the workload.
    comparison
        The measured ratios.
    use
        Slot-iterations of both, by use.
    prediction
        None if the closed forms do not hold; `no_prediction` says why.
    no_prediction
        Why there is no prediction; "" if there is one.
    cost
        None if there are too few iterations to fit a model.
    """

    policies: tuple[str, str]
    slots: tuple[int, int]
    requests: int
    comparison: Comparison
    use: tuple[SlotUse, SlotUse]
    prediction: SpeedupPrediction | None
    no_prediction: str
    cost: CostSplit | None

    @property
    def reasons(self) -> list[tuple[str, float]]:
        """Where iterations were lost: (loss, slot-iterations of the first − of the second), the largest first."""
        difference = {name: getattr(self.use[0], name) - getattr(self.use[1], name) for name in LOSSES}
        return sorted(difference.items(), key=lambda item: -abs(item[1]))

    def __str__(self) -> str:
        return "\n".join([*self._headline(), "", *self._iterations(), "", *self._losses(), "", *self._cost()])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The text that a notebook shows."""
        printer.text(str(self))

    def _headline(self) -> list[str]:
        c = self.comparison
        faster, slower = (1, 0) if c.speedup >= 1 else (0, 1)
        return [
            f"{self.policies[faster]} takes {min(c.seconds):.4g} s, {self.policies[slower]} {max(c.seconds):.4g} s for "
            f"the same {self.requests} requests.",
            f"speed-up {c.speedup:.2f} = {c.iteration_ratio:.2f} (iterations) × {c.iteration_cost_ratio:.2f} (cost of "
            f"an iteration){self._gaps()}",
        ]

    def _gaps(self) -> str:
        """The factor due to time without any request."""
        c = self.comparison
        rest = c.speedup / (c.iteration_ratio * c.iteration_cost_ratio)
        return "" if abs(rest - 1) < 5e-3 else f" × {rest:.2f} (time without any request)"

    def _iterations(self) -> list[str]:
        lines = [_table_row("iterations", *self.policies, "ratio")]
        c, p = self.comparison, self.prediction
        lines.append(_table_row("  measured", *map(str, c.iterations), f"{c.iteration_ratio:.3f}"))
        if p is None:
            return [*lines, f"  not predicted: {self.no_prediction}"]
        return [
            *lines,
            _table_row("  predicted, in this order", *map(str, p.iterations), f"{p.iteration_ratio:.3f}"),
            _table_row("  predicted, endless queue", "", "", f"{p.endless:.3f}"),
        ]

    def _losses(self) -> list[str]:
        lines = [_table_row("slot-iterations", *self.policies, "difference")]
        for field in fields(SlotUse):
            a, b = (getattr(use, field.name) for use in self.use)
            lines.append(_table_row(f"  {field.name.replace('_', ' ')}", f"{a:.0f}", f"{b:.0f}", f"{a - b:+.0f}"))
        name, difference = self.reasons[0]
        if difference:
            worse, better = (0, 1) if difference > 0 else (1, 0)
            a, b = getattr(self.use[worse], name), getattr(self.use[better], name)
            lines.append(
                f"Most of the difference: {LOSSES[name]}: {a:.0f} under {self.policies[worse]}, "
                f"{b:.0f} under {self.policies[better]}."
            )
        else:
            lines.append("Both lost the same slot-iterations in the same ways.")
        return lines

    def _cost(self) -> list[str]:
        c = self.comparison
        mean = [busy / n * 1e3 for busy, n in zip(c.busy_seconds, c.iterations, strict=True)]
        ms = [f"{value:.3f}" for value in mean]
        lines = [_table_row("milliseconds an iteration", *ms, f"{c.iteration_cost_ratio:.3f}")]
        if self.cost is None:
            return [*lines, f"  not split: fewer than {FEWEST_ITERATIONS} iterations, or all of the same duration"]
        cost = self.cost
        lines += [_table_row(f"  by {name}", "", "", f"{factor:.3f}") for name, factor in cost.factors.items()]
        lines += [
            _table_row("  by anything else", "", "", f"{cost.rest:.3f}"),
            f"  fitted: {cost.fixed * 1e3:.4g} ms + {cost.row * 1e3:.4g} ms a row + {cost.prefill_token * 1e3:.4g} ms "
            f"a prefill token + {cost.kv_block * 1e3:.4g} ms a KV block (R² {cost.r_squared:.2f})",
        ]
        if abs(cost.rest - 1) > NOISE:
            lines.append("  The work does not explain this; a busy machine or a cold start may.")
        return lines


def explain(first: Any, second: Trace | None = None) -> Explanation:
    """Explain the difference between two runs of the same requests.

    Parameters
    ----------
    first, second
        Two traces; or only a race (any object with `traces`), whose first and last lanes are compared.

    Returns
    -------
    Explanation
        Measured and predicted ratios, slot use and cost.

    Raises
    ------
    MeasureError
        The arguments are neither, or the runs did different work or took no time.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import explain
    >>> found = explain(*cbviz.recorded("smollm2-8"))
    >>> found.prediction.iterations
    (631, 288)
    >>> found.reasons[0]
    ('held', 3480.0)
    """
    if second is None:
        try:
            traces = tuple(getattr(first, "traces", ()))
        except CbvizError:
            raise
        except Exception:  # any object: then it is not a race
            traces = ()
        if len(traces) < 2:
            raise MeasureError("explain needs two traces, or a race of at least two lanes.")
        first, second = traces[0], traces[-1]
    comparison = compare(first, second)
    prediction, why_not = _predict(first, second)
    return Explanation(
        policies=(first.meta.policy, second.meta.policy),
        slots=(first.meta.slots, second.meta.slots),
        requests=len(first.requests),
        comparison=comparison,
        use=(slot_use(first), slot_use(second)),
        prediction=prediction,
        no_prediction=why_not,
        cost=_split_cost(first, second, comparison.iteration_cost_ratio),
    )


def _predict(first: Trace, second: Trace) -> tuple[SpeedupPrediction | None, str]:
    """A prediction, or why there is none."""
    predicted: list[int] = []
    endless: list[float] = []  # iterations per request, in units of the mean length
    for trace in (first, second):
        name, rq = trace.meta.policy, trace.requests
        if name not in CLOSED_FORMS:
            return None, f"there is no closed form for the policy {name!r}."
        if not completed(trace).all():
            return None, f"not every request of {name!r} completed."
        if rq.arrived.any():
            return None, "requests arrived over time; the closed forms hold for requests that all arrive at 0."
        if name != "one_at_a_time" and slot_use(trace).wasted_idle:
            return None, f"{name!r} left slots empty while requests waited: KV memory limited it, not the slots."
        lengths = [len(tokens) for tokens in rq.tokens]
        order = np.argsort(rq.admitted, kind="stable")
        in_order = [lengths[row] for row in order]
        slots = 1 if name == "one_at_a_time" else trace.meta.slots
        if name == "static":
            predicted.append(static_iterations(in_order, slots, trace.meta.extra.get("run_to")))
            endless.append(speedup_empirical(slots, lengths) / slots)
        else:
            predicted.append(continuous_iterations(in_order, slots))
            endless.append(1 / slots)
    return SpeedupPrediction((predicted[0], predicted[1]), predicted[0] / predicted[1], endless[0] / endless[1]), ""


def _features(trace: Trace) -> npt.NDArray[np.float64]:
    """float64 [iterations, 3]: rows computed, prompt tokens computed, KV blocks in use."""
    it = trace.iterations
    rows = it.prefill_slots + it.decode_slots + it.recompute_slots + it.held_slots
    return np.column_stack([rows, it.prefill_tokens + it.recompute_tokens, it.blocks_used]).astype(np.float64)


def _split_cost(first: Trace, second: Trace, measured: float) -> CostSplit | None:
    """Fit one model to both runs, then turn the mean iteration of the first into that of the second, step by step."""
    mine, theirs = _features(first), _features(second)
    x = np.vstack([mine, theirs])
    seconds = np.concatenate([t.iterations.t_end - t.iterations.t_start for t in (first, second)])
    if min(len(mine), len(theirs)) < FEWEST_ITERATIONS or np.ptp(seconds) == 0:
        return None
    fixed, slopes = _fit(x, seconds)
    here, there = mine.mean(axis=0), theirs.mean(axis=0)
    steps = [np.append(there[:k], here[k:]) for k in range(len(FEATURES) + 1)]  # one feature at a time
    model = [fixed + float(slopes @ step) for step in steps]
    if min(model) <= 0:
        return None
    spread = float(((seconds - seconds.mean()) ** 2).sum())
    left = float(((seconds - fixed - x @ slopes) ** 2).sum())
    return CostSplit(
        fixed=fixed,
        row=float(slopes[0]),
        prefill_token=float(slopes[1]),
        kv_block=float(slopes[2]),
        factors={name: model[k] / model[k + 1] for k, name in enumerate(FEATURES)},
        rest=measured / (model[0] / model[-1]),
        r_squared=1 - left / spread,
    )


def _fit(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """Least squares without negative coefficients: the best subset of columns that fits without one.

    Three columns have eight subsets, so trying all is exact and needs no solver. The empty subset (the mean) always
    fits.
    """
    best, best_error = (float(y.mean()), np.zeros(x.shape[1])), float(((y - y.mean()) ** 2).sum())
    for size in range(1, x.shape[1] + 1):
        for chosen in combinations(range(x.shape[1]), size):
            columns = np.column_stack([np.ones(len(y)), x[:, chosen]])
            solution, _, rank, _ = np.linalg.lstsq(columns, y, rcond=None)
            error = float(((y - columns @ solution) ** 2).sum())
            if rank == size + 1 and (solution >= 0).all() and error < best_error:
                slopes = np.zeros(x.shape[1])
                slopes[list(chosen)] = solution[1:]
                best, best_error = (float(solution[0]), slopes), error
    return best


def _table_row(label: str, *cells: str) -> str:
    return (f"{label:<28}" + "".join(f"{cell:>14}" for cell in cells)).rstrip()
