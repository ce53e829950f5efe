"""The result of one lane of a race."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.checks import counted
from cbviz.measure.rounding import percent
from cbviz.paths import printable
from cbviz.policies import Policy
from cbviz.trace import Trace


@dataclass(frozen=True, slots=True)
class LaneResult:
    """The result of one policy. `seconds` is the median of the repeats, and `trace` is the run with that time.

    `policy_object` is the copy of the policy that ran in the last repeat; any state that it keeps is from that run.
    """

    policy: str
    iterations: int
    seconds: float
    output_tokens: int
    occupancy: float
    tokens_per_second: float
    trace: Trace
    policy_object: Policy

    def __repr__(self) -> str:
        iterations = counted(self.iterations, "iteration")
        return printable(f"<LaneResult of {self.policy}: {iterations}, occupancy {percent(self.occupancy, 1)}>")
