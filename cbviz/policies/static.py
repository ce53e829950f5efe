"""Static batching: fill all slots, run the whole batch to its end, then fill them again."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Plan, View
from cbviz.policies.parameters import whole_or_none
from cbviz.reason import Reason

UNTIL_LONGEST = Reason("batch_runs_longest")


@dataclass(frozen=True, slots=True)
class Static:
    """Admit only into an empty engine, and run until the longest request of the batch has ended.

    A request that ends earlier keeps its slot and is still computed: a batch is one tensor, and its rows leave together
    (Orca, OSDI'22, §2, calls it request-level scheduling).

    Parameters
    ----------
    run_to
        None runs a batch until its longest request has ended. A number runs every batch for at least that many
        iterations. The longest output of the whole workload makes this the naive baseline of the 2023 "23x" benchmark,
        which padded every batch to the longest of the data set; a scheduler cannot know that number.

    Raises
    ------
    PolicyError
        `run_to` is neither None nor a whole number of at least 1.

    Examples
    --------
    Four outputs on two slots:

    >>> import cbviz
    >>> lengths = [1, 4, 2, 2]
    >>> requests = [cbviz.Request(id=i, prompt=[1], max_new_tokens=8, output_length=n) for i, n in enumerate(lengths)]
    >>> trace = cbviz.schedule(cbviz.Static(), cbviz.Workload("four outputs", requests), slots=2)
    >>> len(trace.iterations), trace.requests.admitted.tolist()
    (6, [0, 0, 4, 4])
    """

    run_to: int | None = None
    name: str = "static"

    def __post_init__(self) -> None:
        whole_or_none(self, "run_to")

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        if self.run_to is None:
            return Message("policy.static.summary")
        return Message("policy.static.run_to", iterations=self.run_to)

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        if view.running or self._batch_goes_on(view):
            return Plan(hold="all", put_off=view.closed(self._closed_until))
        admit = view.fitting()
        return Plan(admit=admit, put_off=view.misfit(admit))

    @property
    def _closed_until(self) -> Reason:
        return UNTIL_LONGEST if self.run_to is None else Reason("batch_runs_iterations", iterations=self.run_to)

    def _batch_goes_on(self, view: View) -> bool:
        """Whether a batch whose requests have all ended must still run to `run_to`."""
        if self.run_to is None or not view.finished:
            return False
        begun = min(request.admitted or 0 for request in view.finished)
        return view.iteration - begun < self.run_to
