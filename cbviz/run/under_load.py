"""A forecast in numbers: latencies, goodput, dollars, and Little's law as a check."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.goodput import Targets, within
from cbviz.measure.latency import Latencies
from cbviz.measure.price import dollars_per_million_tokens
from cbviz.measure.queueing import LittlesLaw, littles_law
from cbviz.simulator.forecast import Forecast

LITTLE_TOLERANCE = 1e-9


def latencies_of(forecast: Forecast) -> Latencies:
    """The latencies of a forecast, in the form in which `cbviz.measure` has those of a trace; no gaps between tokens.

    Parameters
    ----------
    forecast
        What was simulated.

    Returns
    -------
    Latencies
        One row a request.
    """
    return Latencies(
        id=forecast.id,
        output_tokens=np.where(forecast.completed, forecast.output_tokens, 0),
        completed=forecast.completed,
        arrival=forecast.arrival,
        queue=forecast.queue,
        ttft=forecast.ttft,
        e2el=forecast.e2e,
        tpot=forecast.tpot,
        itl=np.zeros(0),
    )


def little_of(forecast: Forecast) -> LittlesLaw:
    """Both sides of Little's law over a forecast.

    Parameters
    ----------
    forecast
        What was simulated.

    Returns
    -------
    LittlesLaw
        Over the whole run.

    Raises
    ------
    MeasureError
        They differ by more than rounding, so a time of the run is wrong.
    """
    if not forecast.seconds:
        return LittlesLaw(0.0, 0.0, 0.0)
    found = littles_law(forecast.arrival, forecast.finished, forecast.seconds)
    if found.error > LITTLE_TOLERANCE:
        raise MeasureError(
            f"Little's law fails by {found.error:.1e}: {found.in_system:g} requests in the system, and "
            f"{found.rate:g} arrivals a second that stay for {found.time_in_system:g} s."
        )
    return found


def figures(
    forecast: Forecast, targets: Targets | None = None, dollars_per_hour: float | None = None
) -> dict[str, Any]:
    """A forecast in JSON values, as `cbviz simulate --json` prints it.

    Parameters
    ----------
    forecast
        What was simulated.
    targets
        Latency targets; None leaves goodput out.
    dollars_per_hour
        Price of the machine; None leaves dollars out.

    Returns
    -------
    dict
        `Forecast.to_json`, and "in_system", "goodput" (requests per second that met every target), "within_targets" (as
        a share of all requests), "dollars_per_million_tokens".

    Raises
    ------
    MeasureError
        A price below 0, or times that break Little's law.
    """
    found = forecast.to_json()
    found["in_system"] = little_of(forecast).in_system
    if targets is not None:
        good = int(within(latencies_of(forecast), targets).sum())
        found["goodput"] = good / forecast.seconds if forecast.seconds else 0.0
        found["within_targets"] = good / len(forecast)
    if dollars_per_hour is not None:
        rate = forecast.tokens_per_second
        found["dollars_per_million_tokens"] = dollars_per_million_tokens(rate, dollars_per_hour) if rate else None
    return found
