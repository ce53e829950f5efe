"""The game of notebook 11: a learner's scheduler serves requests that it has not seen before, and is measured.

No model runs (`NullExecutor`): only the schedule matters, and a game takes a moment. The engine checks every plan, as
it does for any policy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from cbviz.checks import PASSING
from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.events import Iteration
from cbviz.policies import Continuous, Policy, fresh, get
from cbviz.workload import Request

SLOTS, BLOCKS, BLOCK_SIZE = 8, 32, 16
"""A pool of 32 blocks of 16 positions: too small for eight requests that reserve their maximum."""
SEEDS = (11, 47)


@dataclass(frozen=True, slots=True)
class GameResult:
    """The result over all games.

    Attributes
    ----------
    iterations
        Mean number of iterations until all requests were served.
    mean, worst
        Iterations from the start of a game to a request's last token: the mean over all requests, and the maximum.
    preemptions
        Number of preemptions.
    together
        The most requests that one iteration admitted.
    """

    iterations: float
    mean: float
    worst: float
    preemptions: int
    together: int


def requests(seed: int, count: int = 24) -> list[Request]:
    """Requests that all arrive at the start; limits are 16, 48 or 160 tokens, and answers use 20 % to 100 %."""
    rng = random.Random(seed)
    drawn = []
    for i in range(count):
        most = rng.choices((16, 48, 160), weights=(5, 3, 2))[0]
        prompt = (1,) * rng.randint(8, 64)
        length = max(1, math.ceil(most * rng.uniform(0.2, 1)))
        drawn.append(Request(i, prompt, max_new_tokens=most, output_length=length))
    return drawn


def play(policy: Policy, seeds: tuple[int, ...] = SEEDS) -> GameResult:
    """Serve the requests of every seed, each time with a fresh copy of the policy.

    Raises
    ------
    PolicyError
        It is not a policy, or it raised, made an illegal plan, or got stuck.
    """
    chosen = get(policy)
    iterations, ends, preemptions, together = [], [], 0, 0
    for seed in seeds:
        engine, events = serve(chosen, requests(seed))
        for event in events:
            ends += [event.index + 1 for _ in event.finished]
            preemptions += len(event.preempted)
            together = max(together, len(event.admitted))
        iterations.append(engine.iteration)
    return GameResult(sum(iterations) / len(iterations), sum(ends) / len(ends), max(ends), preemptions, together)


def serve(policy: Policy, given: list[Request], blocks: int = BLOCKS) -> tuple[Engine, Iterator[Iteration]]:
    """An engine that computes nothing, and its iterations as it serves the requests with a copy of the policy."""
    engine = Engine(
        NullExecutor(context_limit=blocks * BLOCK_SIZE, seconds=1.0),
        fresh(policy),
        slots=SLOTS,
        pool=BlockPool(blocks, BLOCK_SIZE),
        arrival_unit="iterations",
    )
    return engine, engine.run(given)


def is_policy(answer: object) -> bool:
    """Whether a learner handed over a policy: an object, and not its class."""
    try:
        return not isinstance(answer, type) and isinstance(answer, Policy) and callable(answer.plan)
    except PASSING:
        raise
    except BaseException:  # a property of the learner's raised
        return False


@cache
def yardstick() -> GameResult:
    """The result of plain continuous batching in the same games: a score of 100."""
    return play(Continuous())
