"""Which replica gets a request: rules that see counts, and no model.

A router sees what a load balancer in front of serving engines can know: how many requests each replica has not answered
yet, how full its KV cache was when it last said so, and which prompts it was sent.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cbviz.checks import is_a, number, one_of, shown, whole
from cbviz.errors import WorkloadError
from cbviz.limits import MOST_SEED
from cbviz.workload import Request


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a router knows of a replica that runs.

    Attributes
    ----------
    number
        Which one, from 0.
    outstanding
        Requests that it was sent and that have not ended by the time the next one arrives.
    slots
        Requests that it can run at once.
    kv_used
        Share of its KV blocks in use after its last iteration; 0 if nothing is outstanding.
    """

    number: int
    outstanding: int
    slots: int
    kv_used: float


class Router(Protocol):
    """A rule for choosing among replicas."""

    name: str

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        """The number of the replica that gets a request.

        Parameters
        ----------
        request
            As it arrives; a router must not look at the length of its output.
        replicas
            Those that run, at least one, in order of their numbers.

        Returns
        -------
        int
            One of their numbers.
        """
        ...


@dataclass
class RoundRobin:
    """One after the other, whatever they are doing."""

    name: str = "round_robin"
    _last: int = field(default=-1, repr=False)

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        """See `Router.choose`."""
        self._last = next((one.number for one in replicas if one.number > self._last), replicas[0].number)
        return self._last


@dataclass
class LeastOutstanding:
    """The one with the fewest requests that have not ended; of equals the first."""

    name: str = "least_outstanding"

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        """See `Router.choose`."""
        return min(replicas, key=lambda one: (one.outstanding, one.number)).number


@dataclass
class PowerOfTwo:
    """Of two replicas drawn at random, the one with fewer outstanding requests.

    Nearly as even as asking all of them, and it needs no global state (Mitzenmacher, "The Power of Two Choices in
    Randomized Load Balancing", IEEE TPDS 2001).

    Parameters
    ----------
    seed
        Of the draws.
    """

    seed: int = 0
    name: str = "power_of_two"

    def __post_init__(self) -> None:
        self._draw = random.Random(whole("seed", self.seed, 0, MOST_SEED, error=WorkloadError))

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        """See `Router.choose`."""
        two = self._draw.sample(list(replicas), min(2, len(replicas)))
        return min(two, key=lambda one: one.outstanding).number


@dataclass
class PrefixAware:
    """The one with the best sum of prefix hit, queue and memory, weighted; of equals the first.

    The score of a replica is prefix · (share of the prompt's whole blocks that prompts sent there began with) − queue ·
    (outstanding / slots) − kv · (share of KV blocks in use): the shape of the endpoint picker of the Kubernetes Gateway
    API Inference Extension. The router remembers prompts, and does not know what a replica has evicted since.

    Parameters
    ----------
    block_size
        Tokens of a block of the prefix cache.
    prefix, queue, kv
        The weights, at least 0.
    """

    block_size: int = 16
    prefix: float = 3.0
    queue: float = 2.0
    kv: float = 2.0
    name: str = "prefix_aware"

    def __post_init__(self) -> None:
        whole("block_size", self.block_size, 1, error=WorkloadError)
        for weight in ("prefix", "queue", "kv"):
            number(weight, getattr(self, weight), or_equal=True, error=WorkloadError)
        self._sent: dict[int, set[int]] = {}

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        """See `Router.choose`."""
        chain = self._chain(request.prompt)

        def score(one: ReplicaView) -> float:
            known = self._sent.get(one.number, set())
            hits = next((n for n, link in enumerate(chain) if link not in known), len(chain))
            hit = hits / len(chain) if chain else 0.0
            return self.prefix * hit - self.queue * one.outstanding / one.slots - self.kv * one.kv_used

        chosen = max(replicas, key=lambda one: (score(one), -one.number)).number
        self._sent.setdefault(chosen, set()).update(chain)
        return chosen

    def _chain(self, prompt: Sequence[int]) -> list[int]:
        """Hashes of the prompt's whole blocks, each with all before it."""
        chain, so_far = [], 0
        for end in range(self.block_size, len(prompt) + 1, self.block_size):
            so_far = hash((so_far, tuple(prompt[end - self.block_size : end])))
            chain.append(so_far)
        return chain


ROUTERS: dict[str, type[RoundRobin | LeastOutstanding | PowerOfTwo | PrefixAware]] = {
    "round_robin": RoundRobin,
    "least_outstanding": LeastOutstanding,
    "power_of_two": PowerOfTwo,
    "prefix_aware": PrefixAware,
}
"""Name → rule."""


def router_of(given: str | Router, *, seed: int, block_size: int) -> Router:
    """A router by name, or the one given. Raises WorkloadError for neither."""
    if is_a(given, str):
        name = one_of("routing", given, ROUTERS, error=WorkloadError)
        if name == "power_of_two":
            return PowerOfTwo(seed)
        return PrefixAware(block_size) if name == "prefix_aware" else ROUTERS[name]()
    if not callable(getattr(given, "choose", None)):
        raise WorkloadError(f"routing must be one of {', '.join(ROUTERS)}, or a Router, not {shown(given)}.")
    router: Router = given  # type: ignore[assignment]
    return router
