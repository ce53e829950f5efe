"""Continuous batching: membership may change at every iteration."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.policies.base import Plan, View


@dataclass(frozen=True, slots=True)
class Continuous:
    """Refill every free slot before every iteration, first come first served.

    This is iteration-level scheduling (Orca, OSDI'22, §3.1). A newcomer gets KV blocks for all that it can ever need,
    so that nobody has to be thrown out later. Nobody overtakes: admission stops at the first that does not fit.
    """

    name: str = "continuous"
    summary: str = "refill a slot the iteration after it is freed"

    def plan(self, view: View) -> Plan:
        admit = view.fitting()
        return Plan(admit=admit, put_off=view.misfit(admit))
