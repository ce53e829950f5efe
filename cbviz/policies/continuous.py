"""Continuous batching: requests may join and leave the batch at every iteration."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Plan, View


@dataclass(frozen=True, slots=True)
class Continuous:
    """Refill every free slot before every iteration, first come first served.

    This is iteration-level scheduling (Orca, OSDI'22, §3.1). A new request gets KV blocks for all that it can ever
    need, so that none has to be preempted later. No request overtakes another: admission stops at the first that does
    not fit.

    Examples
    --------
    Four outputs on two slots:

    >>> import cbviz
    >>> lengths = [1, 4, 2, 2]
    >>> requests = [cbviz.Request(id=i, prompt=[1], max_new_tokens=8, output_length=n) for i, n in enumerate(lengths)]
    >>> trace = cbviz.schedule(cbviz.Continuous(), cbviz.Workload("four outputs", requests), slots=2)
    >>> len(trace.iterations), trace.requests.admitted.tolist()
    (5, [0, 0, 1, 3])
    """

    name: str = "continuous"
    summary: str = Message("policy.continuous.summary")

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        admit = view.fitting()
        return Plan(admit=admit, put_off=view.misfit(admit))
