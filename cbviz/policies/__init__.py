"""Schedulers: which requests run in the next iteration. One file per policy; pure Python, no torch."""

from __future__ import annotations

from collections.abc import Callable

from cbviz.checks import known_elsewhere
from cbviz.errors import PolicyError
from cbviz.policies.base import Admit, Plan, Policy, RequestView, View
from cbviz.policies.continuous import Continuous
from cbviz.policies.fresh import fresh
from cbviz.policies.identity import check_policy, identity
from cbviz.policies.one_at_a_time import OneAtATime
from cbviz.policies.orca import Orca
from cbviz.policies.request_level import RequestLevel
from cbviz.policies.sarathi import Sarathi
from cbviz.policies.shortest_first import ShortestFirst
from cbviz.policies.static import Static
from cbviz.policies.tgi import TGI
from cbviz.policies.values import shown
from cbviz.policies.vllm_v0 import VllmV0
from cbviz.policies.vllm_v1 import VllmV1
from cbviz.policies.vtc import VTC

POLICIES: dict[str, Callable[[], Policy]] = {
    "static": Static,
    "continuous": Continuous,
    "one_at_a_time": OneAtATime,
    "request_level": RequestLevel,
    "orca": Orca,
    "tgi": TGI,
    "vllm_v0": VllmV0,
    "vllm_v1": VllmV1,
    "sarathi": Sarathi,
    "shortest_first": ShortestFirst,
    "vtc": VTC,
}
"""The built-in policies by name, with their default parameters."""


def get(policy: str | Policy) -> Policy:
    """Look a policy up by name, or check a policy object.

    Parameters
    ----------
    policy
        A name in `POLICIES`, or an object with a name, a summary and a method `plan`.

    Returns
    -------
    Policy
        A new object for a name; the given object itself otherwise.

    Raises
    ------
    PolicyError
        The name is unknown; the object lacks `name`, `summary` or `plan`; its name or summary is not one line of text
        (see `cbviz.policies.identity`); its `plan` is a coroutine or a generator; or it is a class.

    Examples
    --------
    >>> from cbviz.policies import get
    >>> get("continuous").summary
    'refill a slot the iteration after it is freed'
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            known = f"{', '.join(POLICIES)}, or pass your own{known_elsewhere(policy)}"
            raise PolicyError(f"there is no policy {shown(policy)}; choose one of {known}.")
        return POLICIES[policy]()
    if isinstance(policy, type):
        raise PolicyError(f"pass a policy object, not the class: {policy.__name__}() instead of {policy.__name__}.")
    check_policy(policy)
    return policy


__all__ = [
    "POLICIES",
    "TGI",
    "VTC",
    "Admit",
    "Continuous",
    "OneAtATime",
    "Orca",
    "Plan",
    "Policy",
    "RequestLevel",
    "RequestView",
    "Sarathi",
    "ShortestFirst",
    "Static",
    "View",
    "VllmV0",
    "VllmV1",
    "fresh",
    "get",
    "identity",
]
