"""No batching: the next request starts when the previous one has ended."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Plan, View
from cbviz.reason import Reason

ONE = Reason("one_at_a_time")


@dataclass(frozen=True, slots=True)
class OneAtATime:
    """Serve one request after the other, whatever the number of slots.

    This is `model.generate` in a loop: every forward pass reads all weights for a single row. It is the reference for
    the answers of every other policy.
    """

    name: str = "one_at_a_time"
    summary: str = Message("policy.one_at_a_time.summary")

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        admit = [] if view.running else view.fitting()[:1]
        return Plan(admit=admit, put_off=view.closed(ONE, admit))
