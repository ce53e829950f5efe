"""Notebook 02: how many rows a pass has, and what limits it.

The roofline is due to Williams, Waterman & Patterson, CACM 52 (2009).
"""

from __future__ import annotations

import numpy as np

from cbviz.checks import shown
from cbviz.course.knobs import Knobs
from cbviz.course.show import Shown
from cbviz.course.sliders.sketch import charted, point, upright
from cbviz.course.timed import Timed
from cbviz.course.words import knob, say, term
from cbviz.errors import CbvizError
from cbviz.measure import decode_floor
from cbviz.models import LoadedModel
from cbviz.view.chart import Chart, Series

ROOF_ROWS = tuple(2**k for k in range(10))
SHOWN_ROWS = 8


def roofline(times: Timed, model: LoadedModel) -> Knobs:
    """Tokens a second against rows a pass: the roof of a card, its knee, what was measured, and a slider for the rows.

    Parameters
    ----------
    times
        From `timed("decode", …, rates=True)`: milliseconds a pass by rows, and the card's rates.
    model
        The model that was timed.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved one shows the picture for 8 rows.

    Raises
    ------
    CbvizError
        The times are none, or have no rates.
    """
    if not isinstance(times, Timed) or times.rates is None:
        raise CbvizError(f"roofline takes the result of course.timed(…, rates=True), not {shown(times)}.")
    if not isinstance(model, LoadedModel):
        raise CbvizError(f"roofline takes the model that was timed, not {shown(model)}.")
    rates, weights, parameters = times.rates, model.weight_bytes, model.parameters
    knee = rates.flops * weights / (2 * parameters * rates.bandwidth)

    def most(rows: int) -> float:
        """Tokens a second at most."""
        floor = decode_floor(
            rows,
            weight_bytes=weights,
            kv_bytes=0,
            parameters=parameters,
            bandwidth=rates.bandwidth,
            flops=rates.flops,
        )
        return rows / floor

    reached = {rows: 1000 * rows / ms for rows, ms in times.milliseconds.items()}
    limit = rates.flops / (2 * parameters)
    corner = sorted({1.0, min(max(knee, 1.0), ROOF_ROWS[-1]), float(ROOF_ROWS[-1])})
    roof = [min(limit, limit * rows / knee) for rows in corner]
    lowest = min(*reached.values(), most(1))

    def picture(rows: int = SHOWN_ROWS) -> Shown:
        series = [
            Series(term("at most"), np.array(corner), np.array(roof), style=0),
            Series(
                term("measured"), np.array([*reached], float), np.array([*reached.values()]), "points", 1, radius=4.0
            ),
            upright(say("roofline knee", rows=round(knee)), max(knee, 1.0), lowest, limit, style=4),
            point(say("roofline here", rows=rows), rows, most(rows), style=2),
        ]
        if rows in reached:
            series.append(point(say("roofline there", rows=rows), rows, reached[rows], style=3))
        chart = Chart(times.card, knob("rows"), term("tokens/s"), tuple(series), "log", "log")
        return charted(chart, _sentence(rows))

    def _sentence(rows: int) -> str:
        facts = {
            "rows": rows,
            "read": f"{1000 * weights / rates.bandwidth:.3g}",
            "compute": f"{2000 * parameters * rows / rates.flops:.3g}",
            "most": f"{most(rows):,.0f}",
        }
        key = "roofline memory" if rows < knee else "roofline arithmetic"
        measured = say("roofline measured", tokens=f"{reached[rows]:,.0f}") if rows in reached else ""
        return say(key, **facts) + measured

    return Knobs(picture, {"rows": ROOF_ROWS}, {"rows": SHOWN_ROWS})
