"""The record of a run: its events, the trace that they fold into, and the files that keep it."""

from typing import Any

from cbviz._moved import moved_name
from cbviz.events import NO_REQUEST, Finish, FinishReason, Iteration, Mark, Reuse, State
from cbviz.trace.check import check
from cbviz.trace.files import digest, load, save
from cbviz.trace.frames import to_pandas
from cbviz.trace.perfetto import to_perfetto
from cbviz.trace.recorder import Recorder
from cbviz.trace.recordings import COMPARISONS, RECORDINGS, compared, recorded
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
    "COMPARISONS",
    "MARK_KINDS",
    "NO_REQUEST",
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
    "compared",
    "load",
    "recorded",
    "save",
]

# The methods of a trace that read and write files. Their modules import the tables, never the reverse.
for _name, _door in {
    "digest": property(digest),
    "save": save,
    "load": staticmethod(load),
    "to_pandas": to_pandas,
    "to_perfetto": to_perfetto,
}.items():
    setattr(Trace, _name, _door)


def __getattr__(name: str) -> Any:
    return moved_name("trace", name)
