"""Notebook 05: slots and arrivals, and what is left of the gain."""

from __future__ import annotations

import random
from functools import cache

from cbviz.course.knobs import Knobs
from cbviz.course.lanes import SlotLane, lanes
from cbviz.course.show import Shown
from cbviz.course.sliders.sketch import said
from cbviz.course.words import say
from cbviz.measure.rounding import fixed
from cbviz.run.schedule import schedule
from cbviz.workload import ExponentialClipped, Request, Workload

SLOTS = (1, 2, 4, 8, 16)
GAPS = (0, 1, 2, 3, 5, 8, 12, 20)
REQUESTS, MEAN, CAP = 24, 20, 100


def arrivals() -> Knobs:
    """Static and continuous batching on the same 24 requests, with sliders for the slots and for the gap between
    arrivals.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved one shows 8 slots and requests that are all there at the start.
    """

    def picture(slots: int = 8, gap: int = 0) -> Shown:
        work = _work(gap)
        static, continuous = (SlotLane.of(schedule(name, work, slots=slots)) for name in ("static", "continuous"))
        drawn = lanes(static, continuous)
        fewer = static.iterations / continuous.iterations
        sentence = say(
            "arrivals same" if static.iterations == continuous.iterations else "arrivals",
            static=static.iterations,
            continuous=continuous.iterations,
            ratio=fixed(fewer, 2),
        )
        return Shown(drawn.html + said(sentence), f"{drawn.text}\n{sentence}")

    return Knobs(picture, {"slots": SLOTS, "gap": GAPS}, {"slots": 8, "gap": 0})


@cache
def _work(gap: int) -> Workload:
    """24 requests with lengths of a clipped exponential law; one comes every `gap` iterations."""
    lengths = ExponentialClipped(mean=MEAN, cap=CAP).draw(random.Random(3), REQUESTS)
    made = (Request(i, (1,) * 3, max_new_tokens=CAP, output_length=n, arrival=gap * i) for i, n in enumerate(lengths))
    return Workload("arrivals", tuple(made), arrival_unit="iterations")
