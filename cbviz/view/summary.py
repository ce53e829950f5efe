"""How a run ended: what the board says under its finish line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.measure.standings import Compare
from cbviz.measure.verdict import RaceVerdict
from cbviz.measure.verdict import verdict as verdict_of
from cbviz.messages import as_json
from cbviz.trace.trace import Trace

CLOCKS = ("lane", "alone", "virtual", "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measured result of the lanes. Ratios are of the first lane to the last; None where nothing was measured.

    Attributes
    ----------
    speedup
        Seconds of the first lane / seconds of the last; None where it was not measured well enough to be quoted.
    iteration_ratio, cost_ratio
        Its two parts: iterations of the first / of the last, and seconds of an iteration of the first / of the last.
    speedup_range, repeats
        Lowest and highest speed-up of `repeats` measured runs; None and 1 for one run.
    identical, compared
        Requests whose answers are the same in all lanes, of those that ended in all of them.
    clock
        "lane" (taking turns on one device), "alone" or "virtual", as in `TraceMeta.clock`; "" says nothing.
    stopped
        The run was stopped before its end.
    note
        One more sentence to show, as text.
    verdict
        What the run showed, in sentences; None says how long each lane was, and no more.

    Raises
    ------
    CbvizError
        A ratio that is not above 0, more identical answers than compared ones, or an unknown clock.
    """

    speedup: float | None = None
    iteration_ratio: float | None = None
    cost_ratio: float | None = None
    speedup_range: tuple[float, float] | None = None
    repeats: int = 1
    identical: int = 0
    compared: int = 0
    clock: str = ""
    stopped: bool = False
    note: str = ""
    verdict: RaceVerdict | None = None

    def __post_init__(self) -> None:
        for name in ("speedup", "iteration_ratio", "cost_ratio"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise CbvizError(f"{name} must be a finite number above 0, or None, not {shown(value)}.")
        if not 0 <= self.identical <= self.compared:
            raise CbvizError(
                f"identical must lie between 0 and compared = {self.compared}, not {shown(self.identical)}."
            )
        if self.clock not in CLOCKS:
            raise CbvizError(f"clock must be one of {', '.join(map(repr, CLOCKS))}, not {shown(self.clock)}.")

    @classmethod
    def of(
        cls, *traces: Trace, note: str = "", compare: Compare = "iterations", names: Sequence[str] | None = None
    ) -> Outcome:
        """Measure the result from the traces themselves: one run each.

        Parameters
        ----------
        traces
            The lanes, in order, at least one. One trace alone has nothing to be compared with.
        note
            One more sentence to show.
        compare, names
            As for `cbviz.measure.verdict`.

        Returns
        -------
        Outcome
            Without ratios if there is one trace, or if a request had not ended, and without a speed-up where the
            verdict has none.

        Raises
        ------
        CbvizError
            There is no trace.
        """
        if not traces:
            raise CbvizError("a finish needs at least one trace.")
        ended = all((trace.requests.reason >= 0).all() for trace in traces)
        clocks = {trace.meta.clock for trace in traces}
        clock = clocks.pop() if len(clocks) == 1 else ""
        said = verdict_of(*traces, names=names, compare=compare)
        return cls.said(said, clock=clock if clock in CLOCKS else "", stopped=not ended, note=note)

    @classmethod
    def said(cls, verdict: RaceVerdict, *, clock: str = "", stopped: bool = False, note: str = "") -> Outcome:
        """What a verdict says, with its numbers: the one place where they come from.

        Parameters
        ----------
        verdict
            Of the runs.
        clock, stopped, note
            As for `Outcome`.

        Returns
        -------
        Outcome
            Without a speed-up where the verdict has none.
        """
        ratio, spread = verdict.iteration_ratio, verdict.speedup
        return cls(
            speedup=None if spread is None else spread.median,
            iteration_ratio=ratio,
            cost_ratio=None if spread is None or ratio is None else spread.median / ratio,
            speedup_range=None if spread is None or spread.count == 1 else (spread.low, spread.high),
            repeats=1 if spread is None else spread.count,
            identical=verdict.identical,
            compared=verdict.answered,
            clock=clock,
            stopped=stopped,
            note=note,
            verdict=verdict,
        )

    def as_json(self) -> dict[str, Any]:
        """The result as plain values for the page.

        Returns
        -------
        dict
            One entry for each attribute but the verdict, and what it says: `headline`, `beside` and `lines`, each as
            `[key, facts]` of the catalogue, and whether seconds are worth showing (`timed`).
        """
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "verdict"}
        said = self.verdict
        if said is None:
            return plain
        return {
            **plain,
            "compare": said.compare,
            "headline": as_json(said.headline),
            "beside": as_json(said.beside),
            "lines": [as_json(line) for line in said.lines],
            "timed": said.timed,
        }
