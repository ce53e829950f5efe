"""A policy by name, with another bound on the tokens of an iteration."""

from __future__ import annotations

from dataclasses import replace

from cbviz.errors import PolicyError
from cbviz.policies import Policy, get

BOUNDS = ("max_num_batched_tokens", "chunk_size")
"""What the policies call it: vLLM V0 and V1, Sarathi."""


def budgeted(policy: str | Policy, budget: int | None) -> str | Policy:
    """The policy, its bound on the tokens of an iteration replaced; None leaves it as it is.

    Raises
    ------
    PolicyError
        The policy has no such bound, or cannot have this one.
    """
    if budget is None:
        return policy
    made = get(policy)
    for bound in BOUNDS:
        if hasattr(made, bound):
            changed: Policy = replace(made, **{bound: budget})  # type: ignore[type-var]
            return changed
    raise PolicyError(f"the policy {made.name} has no bound on the tokens of an iteration, so budget cannot be set.")
