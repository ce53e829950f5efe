"""The marks of one iteration, in the one order in which traces and boards keep them."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.events import NO_REQUEST, Finish, FinishReason, Mark
from cbviz.trace.trace import MARK_KINDS

ARRIVE, ADMIT, FINISH, PREEMPT, STALL, CANCEL, SET = range(len(MARK_KINDS))
ORDER = (SET, ARRIVE, CANCEL, PREEMPT, ADMIT, STALL, FINISH)
"""Kinds of marks as they happen within an iteration."""

MarkRow = tuple[int, int, int, int, str]
"""(kind, iteration, request, slot, reason)"""


def rows_of(
    iteration: int,
    arrived: Sequence[int],
    cancelled: Sequence[Mark],
    preempted: Sequence[Mark],
    admitted: Sequence[Mark],
    stalled: Sequence[Mark],
    finished: Sequence[Finish],
    changed: Sequence[Mark],
) -> list[MarkRow]:
    """What happened in an iteration, in `ORDER`; the parameters are the fields of `cbviz.events.Iteration`."""
    rows = [(SET, iteration, NO_REQUEST, mark.slot, mark.reason) for mark in changed]
    rows += [(ARRIVE, iteration, request, NO_REQUEST, "") for request in arrived]
    for kind, marks in ((CANCEL, cancelled), (PREEMPT, preempted), (ADMIT, admitted), (STALL, stalled)):
        rows += [(kind, iteration, mark.request, mark.slot, mark.reason) for mark in marks]
    rows += [(FINISH, iteration, end.request, end.slot, FinishReason(end.reason).name.lower()) for end in finished]
    return rows


def in_order(row: MarkRow) -> tuple[int, int]:
    """The key that sorts marks by iteration and, within one, in `ORDER`."""
    return row[1], ORDER.index(row[0])
