"""Helpers for the notebooks: predictions, checks, tables, and their language.

from cbviz import course

course.language("en")
guess = course.predict(range(1, 41))
course.check("01.spell", 20)
"""

from cbviz.course.by_hand_control import by_hand
from cbviz.course.capstone import grade
from cbviz.course.chart import chart
from cbviz.course.exercise import check, progress, solution
from cbviz.course.knobs import knobs
from cbviz.course.mask import mask
from cbviz.course.predict import predict
from cbviz.course.ref import ref
from cbviz.course.results import numbers, seconds, slot_use, sooner
from cbviz.course.show import memory, table, tokens
from cbviz.course.sliders.arrivals import arrivals
from cbviz.course.sliders.capacity import capacity
from cbviz.course.sliders.drag import drag
from cbviz.course.sliders.pool import pool
from cbviz.course.sliders.roofline import roofline
from cbviz.course.sliders.spread import spread
from cbviz.course.still import still
from cbviz.course.timed import timed
from cbviz.course.timeline import timeline
from cbviz.course.words import language, term
from cbviz.measure.rounding import percent

__all__ = [
    "arrivals",
    "by_hand",
    "capacity",
    "chart",
    "check",
    "drag",
    "grade",
    "knobs",
    "language",
    "mask",
    "memory",
    "numbers",
    "percent",
    "pool",
    "predict",
    "progress",
    "ref",
    "roofline",
    "seconds",
    "slot_use",
    "solution",
    "sooner",
    "spread",
    "still",
    "table",
    "term",
    "timed",
    "timeline",
    "tokens",
]
