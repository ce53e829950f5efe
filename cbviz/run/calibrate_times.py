"""A cost model from times of requests alone, without iterations: what a load generator writes.

Given a schedule, the time at which a request gets a token is a sum over the iterations before it, so it is linear in
the coefficients; given coefficients, the simulator makes the schedule. Fitting and simulating in turn settles within a
few rounds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cbviz.errors import CalibrationError
from cbviz.measure.iteration_work import iteration_work
from cbviz.run.calibrate import FEWEST_TO_FIT, at_bound, fit, identified
from cbviz.simulator.cost import CostModel, Origin
from cbviz.trace import Trace

FloatArray = npt.NDArray[np.float64]


def calibrate_times(
    simulated: Callable[[CostModel], Trace],
    first_token: FloatArray,
    finished: FloatArray,
    start: CostModel,
    *,
    name: str,
    origin: Origin,
    rounds: int = 8,
) -> CostModel:
    """Fit a cost model to when requests got their first and last tokens.

    Parameters
    ----------
    simulated
        Serves the work with a cost model, under the policy and the memory of the measured engine.
    first_token, finished
        float64 [requests], in the order of the work: seconds since the first arrival. NaN leaves a request out, such
        as one that the result is to be tested on.
    start
        Where to begin; the order of magnitude of an iteration is enough.
    name, origin
        For the result. Notes on coefficients that could not be identified or came out as 0 are added.
    rounds
        How often to fit and simulate.

    Returns
    -------
    CostModel
        Of all rounds, the one whose simulation came closest to the times it was fitted to.

    Raises
    ------
    CalibrationError
        Fewer than 20 requests have times.
    """
    known = np.flatnonzero(~np.isnan(first_token) & ~np.isnan(finished))
    if len(known) < FEWEST_TO_FIT:
        raise CalibrationError(
            f"{len(known)} requests have times, and a cost model needs at least {FEWEST_TO_FIT} to be fitted to."
        )
    measured = np.concatenate([first_token[known], finished[known], finished[known] - first_token[known]])
    cost, best = start, (np.inf, start)
    notes: list[str] = []
    for turn in range(rounds + 1):
        trace = simulated(cost)
        columns, idle = _sums(trace)
        first = np.array([trace.requests.token_iterations[row][0] for row in known]) + 1
        last = np.array([trace.requests.token_iterations[row][-1] for row in known]) + 1
        x = np.vstack([columns[first], columns[last], columns[last] - columns[first]])
        waited = np.concatenate([idle[first], idle[last], idle[last] - idle[first]])
        found = x @ np.array(cost.coefficients) + waited
        usable = measured > 0
        error = float(np.mean(np.abs(found - measured)[usable] / measured[usable]))
        if turn and error < best[0]:
            best = (error, CostModel(*cost.coefficients, name=name, origin=_noted(origin, notes)))
        if turn == rounds:
            break
        chosen, notes = identified(columns[1:] - columns[:-1])
        # Relative errors: `fit` weights by 1 / seconds, and the rest of it is done here.
        target = np.maximum(measured - waited, 1e-6)[usable]
        weight = 1 / np.sqrt(target)
        coefficients = fit(x[usable] * weight[:, None], target * weight, chosen)
        notes = notes + at_bound(coefficients, chosen)
        a, b, c, p, d, e = coefficients
        cost = CostModel(a, b, c, p, d, e)
    return best[1]


def _sums(trace: Trace) -> tuple[FloatArray, FloatArray]:
    """Before each iteration, and after the last: work done so far, one column a coefficient, and seconds of idling."""
    work, it = iteration_work(trace), trace.iterations
    columns = np.column_stack([np.ones(len(it)), work.columns(), work.prefill_tokens > 0])
    gaps = np.diff(np.concatenate([[0.0], it.t_end])) - (it.t_end - it.t_start)
    return (
        np.vstack([np.zeros(columns.shape[1]), np.cumsum(columns, axis=0)]),
        np.concatenate([[0.0], np.cumsum(gaps)]),
    )


def _noted(origin: Origin, notes: list[str]) -> Origin:
    return Origin(
        origin.method,
        origin.device,
        origin.model,
        origin.dtype,
        origin.versions,
        origin.traces,
        origin.extent,
        origin.held_out,
        (*origin.notes, *notes),
    )
