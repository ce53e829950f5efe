"""The cost of a step of the engine's loop: an executor with this clock serves in virtual seconds."""

from __future__ import annotations

from cbviz.core.executor import Step
from cbviz.simulator.cost import CostModel, Extent


class StepCost:
    """Turns each step into seconds, and remembers the largest. For `NullExecutor(seconds=…)`.

    Parameters
    ----------
    cost
        What an iteration costs.

    Examples
    --------
    >>> import numpy as np
    >>> from cbviz.core.executor import Step
    >>> from cbviz.simulator import CostModel
    >>> rows = dict(slot=np.array([0, 1]), start=np.array([0, 9]), count=np.array([4, 1]), draw=np.array([0, 5]))
    >>> clock = StepCost(CostModel(iteration=1, decode=0.1, prefill_token=0.01))
    >>> round(clock(Step(iteration=0, seats=(), tables=np.zeros((2, 1), np.int32), **rows)), 6), clock.reached.decodes
    (1.14, 1)
    """

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._most = [0, 0, 0, 0]

    def __call__(self, step: Step) -> float:
        """Seconds of a step."""
        rows, new = len(step.slot), int(step.count.sum())
        ends = step.start + step.count
        if new == rows:  # only decodes, as in most iterations
            decodes, read, prefill, attention = rows, int(ends.sum()), 0, 0.0
        else:
            one = step.count == 1
            decodes, read = int(one.sum()), int(ends[one].sum())
            first, count = step.start[~one].astype(float), step.count[~one].astype(float)
            prefill, attention = new - decodes, float((count * (first + count / 2)).sum())
        reached = (decodes, read, prefill, int(ends.max(initial=0)))
        self._most = [max(pair) for pair in zip(self._most, reached, strict=True)]
        return float(self._cost.seconds(decodes, read, prefill, attention))

    @property
    def reached(self) -> Extent:
        """The largest of all steps so far, in each respect."""
        return Extent(*self._most)
