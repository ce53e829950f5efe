"""What a simulation says of every request: when it was admitted, when it began to answer, when it had answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.simulator.cost import Extent

FloatColumn = npt.NDArray[np.float64]
IntColumn = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Times of all requests in seconds on the virtual clock, and totals of the run.

    Attributes
    ----------
    id, prompt_tokens, output_tokens, preemptions
        int64 [requests], in order of arrival.
    arrival, admitted, first_token, finished
        float64 [requests]: NaN for what had not happened when the simulation was stopped. `admitted` is the beginning
        of the iteration that first admitted it, the last two are the ends of iterations.
    policy, slots, cost
        What was simulated.
    iterations, seconds
        How many there were, and when the last one ended.
    useful_slot_iterations
        Slot-iterations that took in a prompt or output position for the first time.
    reached
        The largest iteration.
    how
        "compiled" or "skipping" (plain Python) from event to event, or "loop" over every iteration.
    wall_seconds
        What the simulation itself took, without compiling.
    compile_seconds
        What compiling its kernel took, or reading it from the compiler's cache; 0 where nothing is compiled, and nearly
        0 from the second simulation on.
    warnings
        What limits its worth, a sentence each.
    stopped
        Whether an interrupt ended it before all requests had.
    """

    id: IntColumn
    prompt_tokens: IntColumn
    output_tokens: IntColumn
    preemptions: IntColumn
    arrival: FloatColumn
    admitted: FloatColumn
    first_token: FloatColumn
    finished: FloatColumn
    policy: str
    slots: int
    cost: str
    iterations: int
    seconds: float
    useful_slot_iterations: int
    reached: Extent
    how: str
    wall_seconds: float = 0.0
    compile_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    stopped: bool = False

    def __len__(self) -> int:
        return len(self.id)

    @property
    def completed(self) -> npt.NDArray[np.bool_]:
        """bool [requests]: whether the output ended."""
        return ~np.isnan(self.finished)

    @property
    def queue(self) -> FloatColumn:
        """float64 [requests]: first admission - arrival."""
        return self.admitted - self.arrival

    @property
    def ttft(self) -> FloatColumn:
        """float64 [requests]: first token - arrival, of completed requests."""
        return np.where(self.completed, self.first_token - self.arrival, np.nan)

    @property
    def e2e(self) -> FloatColumn:
        """float64 [requests]: last token - arrival."""
        return self.finished - self.arrival

    @property
    def tpot(self) -> FloatColumn:
        """float64 [requests]: (E2E - TTFT) / (output tokens - 1); NaN for outputs of one token."""
        gaps = np.where(self.output_tokens > 1, self.output_tokens - 1, np.nan)
        return (self.finished - self.first_token) / gaps

    @property
    def tokens(self) -> int:
        """Output tokens of completed requests."""
        return int(self.output_tokens[self.completed].sum())

    @property
    def tokens_per_second(self) -> float:
        """Output tokens of completed requests per virtual second; 0 for a run without duration."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def occupancy(self) -> float:
        """Useful slot-iterations / all slot-iterations."""
        return self.useful_slot_iterations / (self.iterations * self.slots) if self.iterations else 0.0

    def to_json(self) -> dict[str, Any]:
        """What the command line prints.

        Returns
        -------
        dict
            JSON values only. Times in seconds; `ttft`, `tpot` and `e2e` have mean, p50, p90 and p99, None without
            values.
        """
        wall = self.wall_seconds
        return {
            "policy": self.policy,
            "slots": self.slots,
            "cost": self.cost,
            "how": self.how,
            "requests": len(self),
            "completed": int(self.completed.sum()),
            "iterations": self.iterations,
            "simulated_seconds": self.seconds,
            "wall_seconds": wall,
            "compile_seconds": self.compile_seconds,
            "requests_per_wall_second": int(self.completed.sum()) / wall if wall else None,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens_per_second,
            "ttft": _spread(self.ttft),
            "tpot": _spread(self.tpot),
            "e2e": _spread(self.e2e),
            "queue": _spread(self.queue),
            "occupancy": self.occupancy,
            "preemptions": int(self.preemptions.sum()),
            "warnings": list(self.warnings),
        }


def _spread(values: FloatColumn) -> dict[str, float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    p50, p90, p99 = np.percentile(known, (50, 90, 99))
    return {"mean": float(known.mean()), "p50": float(p50), "p90": float(p90), "p99": float(p99)}
