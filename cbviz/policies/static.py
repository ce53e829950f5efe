"""Static batching: fill all slots, then run until the batch is done; nobody enters before."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.policies.base import Plan, View
from cbviz.policies.parameters import whole_or_none


@dataclass(frozen=True, slots=True)
class Static:
    """Admit only into an empty engine, and run until the longest request of the batch has ended.

    Requests that end earlier keep their slot and are computed in vain: a batch is one tensor, and its rows leave
    together (Orca, OSDI'22, §2, calls it request-level scheduling).

    Parameters
    ----------
    run_to
        None runs a batch until its longest request has ended. A number runs every batch for at least that many
        iterations: with the longest output of the whole workload, set by whoever knows it, this is the naive baseline
        of the 2023 "23x" benchmark, which padded every batch to the longest of the data set.
    """

    run_to: int | None = None
    name: str = "static"

    def __post_init__(self) -> None:
        whole_or_none(self.name, "run_to", self.run_to)

    @property
    def summary(self) -> str:
        if self.run_to is None:
            return "run every batch to its longest request"
        return f"run every batch for {self.run_to} iterations"

    def plan(self, view: View) -> Plan:
        if view.running or self._batch_goes_on(view):
            return Plan(hold="all", put_off=view.closed(self._closed_until))
        admit = view.fitting()
        return Plan(admit=admit, put_off=view.misfit(admit))

    @property
    def _closed_until(self) -> str:
        end = "its longest request has ended" if self.run_to is None else f"it has run {self.run_to} iterations"
        return f"a batch is running, and nobody enters it before {end}"

    def _batch_goes_on(self, view: View) -> bool:
        """Whether a batch whose requests have all ended still has iterations to run."""
        if self.run_to is None or not view.finished:
            return False
        begun = min(request.admitted or 0 for request in view.finished)
        return view.iteration - begun < self.run_to
