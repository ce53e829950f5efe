"""Helpers for the notebooks: predictions, checks, tables, and their language.

from cbviz import course

course.language("en")
guess = course.predict(range(1, 41))
course.check("01.spell", 20)
"""

from cbviz.course.capstone import grade
from cbviz.course.chart import chart
from cbviz.course.exercise import check, progress, solution
from cbviz.course.knobs import knobs
from cbviz.course.mask import mask
from cbviz.course.predict import predict
from cbviz.course.ref import ref
from cbviz.course.results import numbers, seconds, slot_use, sooner
from cbviz.course.show import memory, table, tokens
from cbviz.course.still import still
from cbviz.course.timed import timed
from cbviz.course.timeline import timeline
from cbviz.course.words import language, term

__all__ = [
    "chart",
    "check",
    "grade",
    "knobs",
    "language",
    "mask",
    "memory",
    "numbers",
    "predict",
    "progress",
    "ref",
    "seconds",
    "slot_use",
    "solution",
    "sooner",
    "still",
    "table",
    "term",
    "timed",
    "timeline",
    "tokens",
]
