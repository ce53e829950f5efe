"""A policy that can be swapped for another, on a number of open slots that can change, during a run."""

from __future__ import annotations

from dataclasses import replace

from cbviz.messages import Message
from cbviz.policies import Plan, Policy, View, identity
from cbviz.policies.check import ask
from cbviz.policies.plan import CheckedPlan


class SwitchablePolicy:
    """Plans with the current policy on the currently open slots.

    The engine has more slots than are open. The policy sees only the open ones: `slots` is their number, and
    `free_slots` how many of them are free. When the number falls, running requests continue to their end, and none is
    admitted until fewer run than there are open slots. The engine fills the lowest free slot first, so the slots that
    stay empty are the highest.

    Changes take effect with the next plan. Built-in policies keep no state between plans, so any of them can take over
    in the middle of a run; a policy that keeps state starts with that of a fresh copy.
    """

    name = "playground"

    def __init__(self, policy: Policy, slots: int) -> None:
        self.policy = policy
        self.slots = slots
        self.made: tuple[View, CheckedPlan] | None = None
        """What the policy saw last, and what it planned; replaced as a whole, so that any thread may read it."""
        self.summary = Message("policy.switched.summary", policy=identity(policy)[0])

    def plan(self, view: View) -> Plan:
        """The current policy's plan for the open slots. Raises PolicyError if the plan is illegal there."""
        free = max(0, self.slots - len(view.running))
        narrowed = replace(view, slots=self.slots, free_slots=min(view.free_slots, free))
        # The engine checks the plan against all its slots; here we check it against the open ones. We return it in
        # plain form, because the policy may return iterators, which can be read only once.
        checked = ask(self.policy, narrowed)
        self.made = narrowed, checked
        return checked.plan()
