"""How a run ended: what the board says under its finish line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from cbviz.errors import CbvizError
from cbviz.measure.compare import same_answers
from cbviz.trace.trace import Trace

CLOCKS = ("lane", "alone", "virtual", "")


@dataclass(frozen=True, slots=True)
class Finish:
    """The measured result of the lanes. Ratios are of the first lane to the last; None where nothing was measured.

    Attributes
    ----------
    speedup
        Seconds of the first lane / seconds of the last.
    iteration_ratio, cost_ratio
        Its two parts: iterations of the first / of the last, and seconds of an iteration of the first / of the last.
    speedup_range, repeats
        Lowest and highest speed-up of `repeats` measured runs; None and 1 for one run.
    identical, compared
        Requests whose answers are the same in all lanes, of those that ended in all of them.
    clock
        "lane" (taking turns on one device), "alone" or "virtual", as in `TraceMeta.clock`; "" says nothing.
    stopped
        Somebody stopped the run before its end.
    note
        One more sentence to show, as text.
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

    def __post_init__(self) -> None:
        for name in ("speedup", "iteration_ratio", "cost_ratio"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise CbvizError(f"{name} must be a finite number above 0, or None, not {value!r}.")
        if not 0 <= self.identical <= self.compared:
            raise CbvizError(f"identical must lie between 0 and compared = {self.compared}, not {self.identical!r}.")
        if self.clock not in CLOCKS:
            raise CbvizError(f"clock must be one of {', '.join(map(repr, CLOCKS))}, not {self.clock!r}.")

    @classmethod
    def of(cls, *traces: Trace, note: str = "") -> Finish:
        """Measured from the traces themselves: one run each. One trace alone has nothing to be compared with."""
        if not traces:
            raise CbvizError("a finish needs at least one trace.")
        ended = all((trace.requests.reason >= 0).all() for trace in traces)
        first, last = traces[0], traces[-1]
        clocks = {trace.meta.clock for trace in traces}
        clock = clocks.pop() if len(clocks) == 1 else ""
        clock = clock if clock in CLOCKS else ""
        if len(traces) == 1 or not ended or not first.seconds or not last.seconds:
            return cls(clock=clock, stopped=not ended, note=note)
        iterations = len(first.iterations) / len(last.iterations)
        speedup = first.seconds / last.seconds
        identical, compared = same_answers(*traces)
        return cls(
            speedup=speedup,
            iteration_ratio=iterations,
            cost_ratio=speedup / iterations,
            identical=identical,
            compared=compared,
            clock=clock,
            note=note,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for the page."""
        return asdict(self)
