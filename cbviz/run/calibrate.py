"""From recorded runs to a cost model: non-negative least squares, checked on requests that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import flag, is_a, shown
from cbviz.checks import text as checked_text
from cbviz.errors import CalibrationError
from cbviz.measure.iteration_work import iteration_work
from cbviz.simulator.cost import COEFFICIENTS, CostModel, Extent, HeldOut, Origin
from cbviz.trace import Trace
from cbviz.trace.trace import SPECULATION

FloatArray = npt.NDArray[np.float64]

FEWEST_TO_FIT = 20
TOO_ALIKE = 0.01
"""Share of a column that must be left when the columns before it are projected out, for its coefficient to mean
something."""
WHY = {
    "decode": "every iteration decodes nearly the same number of rows",
    "kv_token": "the positions read follow the number of rows too closely",
    "prefill_token": "no iteration takes in a prompt, or all take in the same",
    "prefill": "all iterations with a prompt take in nearly the same",
    "attention": "all chunks have nearly the same length and context",
}
"""Why a coefficient cannot be identified."""


def calibrate(traces: Trace | Sequence[Trace], *, name: str | None = None, simulated: bool = False) -> CostModel:
    """Fit a cost model to the iterations of recorded runs.

    The squares of the residuals are weighted by 1 / seconds, and no coefficient is negative. A coefficient that the
    runs cannot tell from the others becomes 0: the others then contain it. `origin.notes` names it, and each one that
    the fit itself leaves at 0. The error in
    `origin.held_out` is that of a fit to the first half of each run, on the requests admitted after it; the
    coefficients themselves are fitted to everything.

    Parameters
    ----------
    traces
        Runs of one engine with one model on one device, with its clock. Runs that differ in their lengths, slots and
        policies identify more coefficients.
    name
        What results call the cost model; None makes one of device and model.
    simulated
        Whether traces on a virtual clock may be among them. Their times come from another cost model, so a fit finds
        that one again and says nothing about a device.

    Returns
    -------
    CostModel
        With its origin.

    Raises
    ------
    CalibrationError
        There is no trace, one is there twice, they are of different devices, models or engines, they are too short to
        fit anything, or one was simulated and `simulated` is not set.

    Examples
    --------
    >>> import cbviz
    >>> cost = cbviz.calibrate(cbviz.recorded("llama-8b-32"))
    >>> f"{cost.iteration * 1e3:.1f} ms, {cost.prefill_token * 1e6:.0f} µs a prompt token"
    '6.1 ms, 19 µs a prompt token'
    """
    runs = [traces] if isinstance(traces, Trace) else list(traces) if isinstance(traces, list | tuple) else []
    if not runs or not all(is_a(trace, Trace) for trace in runs):
        raise CalibrationError(f"traces must be one or more Traces, such as cbviz.load(path), not {shown(traces)}.")
    if any(SPECULATION in trace.meta.extra for trace in runs):
        raise CalibrationError(
            "a cost model is fitted to runs of one token a slot; leave out those that drafted tokens (speculate)."
        )
    if (same := same_runs(runs)) is not None:
        raise CalibrationError(
            f"traces {same[0] + 1} and {same[1] + 1} are the same run, and a run counts once; leave one out."
        )
    notes = _simulated(runs, flag("simulated", simulated, error=CalibrationError))
    device, model, dtype = _same_origin(runs)
    work = [iteration_work(trace) for trace in runs]
    x = [np.column_stack([np.ones(len(w.decodes)), w.columns(), w.prefill_tokens > 0]) for w in work]
    y = [trace.iterations.t_end - trace.iterations.t_start for trace in runs]
    everything, seconds = np.vstack(x), np.concatenate(y)
    _check_enough(everything, seconds)
    chosen, unknown = identified(everything)
    coefficients = fit(everything, seconds, chosen)
    notes += unknown + at_bound(coefficients, chosen)
    held_out = _held_out(runs, x, y)
    if held_out is None:
        notes.append("No request was admitted after half of them had finished, so the error is unknown.")
    extent = Extent(
        decodes=int(everything[:, 1].max()),
        kv_tokens=int(everything[:, 2].max()),
        prefill_tokens=int(np.ceil(everything[:, 3].max())),
        context=int(np.ceil(max(w.context.max() for w in work))),
    )
    origin = Origin(
        method="fitted",
        device=device,
        model=model,
        dtype=dtype,
        versions=dict(runs[0].meta.versions),
        traces=tuple(trace.digest for trace in runs),
        extent=extent,
        held_out=held_out,
        notes=tuple(notes),
    )
    title = f"{model} on {device}" if name is None else checked_text("name", name, error=CalibrationError)
    a, b, c, p, d, e = coefficients
    return CostModel(a, b, c, p, d, e, title, origin)


def fit(x: FloatArray, y: FloatArray, chosen: Sequence[int]) -> list[float]:
    """Non-negative least squares in the chosen columns; the other coefficients are 0.

    Six columns have at most 63 subsets, so trying all is exact and needs no solver: the best fit among those whose
    coefficients are all non-negative.

    Parameters
    ----------
    x
        float64 [iterations, 6]: one column a coefficient.
    y
        float64 [iterations]: seconds.
    chosen
        Columns that can be identified.

    Returns
    -------
    list of float
        Six coefficients.
    """
    weight = 1 / np.sqrt(np.maximum(y, 1e-9))
    scale = np.maximum(np.abs(x).max(axis=0), 1e-30)
    wx, wy = x / scale * weight[:, None], y * weight
    best, best_error = np.zeros(x.shape[1]), np.inf
    for size in range(1, len(chosen) + 1):
        for columns in combinations(chosen, size):
            found, *_ = np.linalg.lstsq(wx[:, columns], wy, rcond=None)
            error = float(((wy - wx[:, columns] @ found) ** 2).sum())
            if (found >= 0).all() and error < best_error:
                best = np.zeros(x.shape[1])
                best[list(columns)] = found
                best_error = error
    return [float(value) for value in best / scale]


def identified(x: FloatArray) -> tuple[list[int], list[str]]:
    """The columns whose coefficients the runs can tell apart, and a sentence on each other one.

    Columns are taken in the order of their weight in most runs; one of which too little is left when the chosen ones
    are projected out is given up.

    Parameters
    ----------
    x
        As for `fit`.

    Returns
    -------
    (list of int, list of str)
        Columns in ascending order, and notes.
    """
    chosen, notes = [0], []
    for column in (3, 1, 2, 5, 4):
        name, values = COEFFICIENTS[column], x[:, column]
        size = float(np.linalg.norm(values))
        left = 0.0
        if size > 0:
            basis = x[:, chosen] / np.linalg.norm(x[:, chosen], axis=0)
            solution, *_ = np.linalg.lstsq(basis, values / size, rcond=None)
            left = float(np.linalg.norm(values / size - basis @ solution))
        if left > TOO_ALIKE:
            chosen.append(column)
        else:
            notes.append(f"{name} could not be separated from the others and is 0: {WHY[name]}.")
    return sorted(chosen), notes


def at_bound(coefficients: Sequence[float], chosen: Sequence[int]) -> list[str]:
    """A sentence on each coefficient that could be identified and is 0: a fit without the bound may be below it."""
    return [
        f"{COEFFICIENTS[column]} came out as 0, the least that is allowed: the runs show no such cost of its own, and "
        "the others may contain it."
        for column in chosen
        if coefficients[column] == 0
    ]


def same_runs(runs: Sequence[Trace]) -> tuple[int, int] | None:
    """The places of the first two runs with the same content; None if all differ."""
    seen: dict[str, int] = {}
    for place, run in enumerate(runs):
        if (first := seen.setdefault(run.digest, place)) != place:
            return first, place
    return None


def _same_origin(runs: Sequence[Trace]) -> tuple[str, str, str]:
    """Device, model and dtype of the runs. Raises CalibrationError if they differ, or if their engines do."""
    found = [(run.meta.device, run.meta.model, _engine(run), _dtype(run)) for run in runs]
    for what, values in zip(("device", "model", "engine", "dtype"), zip(*found, strict=True), strict=True):
        if len(set(values)) > 1:
            raise CalibrationError(
                f"the traces are of more than one {what} ({', '.join(sorted(set(values)))}); a cost model is of one."
            )
    device, model, _, dtype = found[0]
    return device or "virtual clock", model or "no model", dtype


def _simulated(runs: Sequence[Trace], allowed: bool) -> list[str]:
    """A note if some of the runs were simulated. Raises CalibrationError if that is not allowed."""
    virtual = [run for run in runs if run.meta.clock == "virtual"]
    if not virtual:
        return []
    costs = sorted({shown(cost) for run in virtual if (cost := run.meta.extra.get("cost"))})
    by = f" by the cost model {', '.join(costs)}" if costs else ""
    if not allowed:
        raise CalibrationError(
            f"{len(virtual)} of the {len(runs)} traces were simulated{by}, so no device took these times; record runs "
            "on the device, or pass simulated=True (--simulated) to fit to them all the same."
        )
    return [f"Fitted to simulated times: {len(virtual)} of {len(runs)} traces were made{by}, not measured."]


def _engine(run: Trace) -> str:
    """Whose engine it was: an adapter names it, with its version."""
    return str(run.meta.extra.get("engine") or "cbviz")


def _dtype(run: Trace) -> str:
    weights: Any = run.meta.extra.get("weights")
    return f"{run.meta.dtype}, {weights} weights" if weights else run.meta.dtype


def _check_enough(x: FloatArray, y: FloatArray) -> None:
    if len(y) < FEWEST_TO_FIT:
        raise CalibrationError(
            f"the traces have {len(y)} iterations, and a cost model needs at least {FEWEST_TO_FIT}; serve more "
            "requests."
        )
    if not (np.isfinite(y).all() and (y >= 0).all() and y.any()):
        raise CalibrationError("the traces have no times to fit: their iterations took no time.")
    if not x[:, 1].any() and not x[:, 3].any():
        raise CalibrationError("the traces computed no token, so there is nothing to fit.")


def _held_out(runs: Sequence[Trace], x: Sequence[FloatArray], y: Sequence[FloatArray]) -> HeldOut | None:
    """Errors on the requests admitted after half of those of each run had finished, of a fit to what came before."""
    cuts = []
    for run in runs:
        ended = np.sort(run.requests.finished[run.requests.finished >= 0])
        cuts.append(int(ended[(len(ended) - 1) // 2]) + 1 if len(ended) else len(run.iterations))
    before = np.vstack([part[:cut] for part, cut in zip(x, cuts, strict=True)])
    chosen, _ = identified(before)
    coefficients = np.array(fit(before, np.concatenate([p[:c] for p, c in zip(y, cuts, strict=True)]), chosen))
    errors: dict[str, list[float]] = {"ttft": [], "tpot": [], "e2e": []}
    requests = 0
    for run, columns, seconds, cut in zip(runs, x, y, cuts, strict=True):
        # Sums of durations: waiting without any request on the engine is no iteration's time.
        measured, predicted = (np.concatenate([[0.0], np.cumsum(d)]) for d in (seconds, columns @ coefficients))
        for admitted, when in zip(run.requests.admitted.tolist(), run.requests.token_iterations, strict=True):
            if admitted < cut or not when:
                continue
            requests += 1
            first, last = when[0] + 1, when[-1] + 1
            for name, begin, end in (("ttft", admitted, first), ("tpot", first, last), ("e2e", admitted, last)):
                if (real := measured[end] - measured[begin]) > 0:
                    errors[name].append(abs(predicted[end] - predicted[begin] - real) / real)
    if not requests:
        return None
    return HeldOut(requests, **{name: float(np.mean(found)) if found else None for name, found in errors.items()})
