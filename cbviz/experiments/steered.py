"""A policy that hands over to another one, and a number of slots that may be lowered, while a run goes on."""

from __future__ import annotations

from dataclasses import replace

from cbviz.policies import Plan, Policy, View, identity
from cbviz.policies.check import ask


class Steered:
    """Plans as the policy of the moment does, on as many slots as are open at the moment.

    The engine has more slots than are open. The policy sees the open ones only: `slots` is their number, and
    `free_slots` what is left of them. Whoever runs when their number falls goes on to its end; nobody enters until
    fewer run than there are open slots. Because the engine fills the lowest free slot first, the slots that empty for
    good are the highest.

    A change of either takes effect with the next plan. Built-in policies keep no state between two plans, so any of
    them can take over in the middle of a run; one that keeps state begins with that of a fresh copy.
    """

    name = "playground"

    def __init__(self, policy: Policy, slots: int) -> None:
        self.policy = policy
        self.slots = slots
        self.summary = f"{identity(policy)[0]} at first; changed while it runs"

    def plan(self, view: View) -> Plan:
        free = max(0, self.slots - len(view.running))
        narrowed = replace(view, slots=self.slots, free_slots=min(view.free_slots, free))
        # The engine checks it against all its slots; here it must keep to the open ones. It is handed on in plain form,
        # for what the policy gave may be iterators, which can be read only once.
        return ask(self.policy, narrowed).plan()
