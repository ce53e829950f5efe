"""What happened: the events of a run, the trace they fold into, and the files that keep it."""

from cbviz.trace.check import check
from cbviz.trace.events import NOBODY, Finish, FinishReason, Iteration, Mark, Reuse, State
from cbviz.trace.files import load, save
from cbviz.trace.recorder import Recorder
from cbviz.trace.recordings import RECORDINGS, recorded
from cbviz.trace.trace import (
    MARK_KINDS,
    IterationTable,
    MarkTable,
    RequestTable,
    SpanTable,
    Trace,
    TraceMeta,
)

__all__ = [
    "MARK_KINDS",
    "NOBODY",
    "RECORDINGS",
    "Finish",
    "FinishReason",
    "Iteration",
    "IterationTable",
    "Mark",
    "MarkTable",
    "Recorder",
    "RequestTable",
    "Reuse",
    "SpanTable",
    "State",
    "Trace",
    "TraceMeta",
    "check",
    "load",
    "recorded",
    "save",
]
