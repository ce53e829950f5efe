"""What the notebooks lean on: predictions, checks, tables, and the language of it all.

from cbviz import course

course.language("en")
guess = course.predict(range(1, 41))
course.check("01.spell", 20)
"""

from cbviz.course.exercise import check, progress, solution
from cbviz.course.knobs import knobs
from cbviz.course.predict import predict
from cbviz.course.show import memory, table, tokens
from cbviz.course.timeline import timeline
from cbviz.course.words import language, term

__all__ = [
    "check",
    "knobs",
    "language",
    "memory",
    "predict",
    "progress",
    "solution",
    "table",
    "term",
    "timeline",
    "tokens",
]
