"""No batching at all: the next request begins when the one before has ended."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.policies.base import Plan, View


@dataclass(frozen=True, slots=True)
class OneAtATime:
    """Serve one request after the other, whatever the number of slots.

    This is what calling `model.generate` in a loop does: every forward pass reads all weights for a single row. The
    answers of every other policy are measured against this one.
    """

    name: str = "one_at_a_time"
    summary: str = "one request after the other, no batch"

    def plan(self, view: View) -> Plan:
        admit = [] if view.running else view.fitting()[:1]
        return Plan(admit=admit, put_off=view.closed("one request at a time", admit))
