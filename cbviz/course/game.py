"""The game of notebook 11: a learner's scheduler serves requests that it has never seen, and is measured.

Nothing is computed (`NullExecutor`): schedules are the point here, and a game takes a moment. The engine checks every
plan, as it does for any policy.
"""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass
from functools import cache

from cbviz.engine import Engine, NullExecutor
from cbviz.memory import BlockPool
from cbviz.policies import Continuous, Policy, get
from cbviz.workload import Request

SLOTS, BLOCKS, BLOCK_SIZE = 8, 32, 16
"""A pool of 32 blocks of 16 positions: too small for eight requests that reserve all they may ever need."""
SEEDS = (11, 47)


@dataclass(frozen=True, slots=True)
class Result:
    """What came out, summed up over all games.

    Attributes
    ----------
    iterations
        Mean number of iterations until everybody was served.
    mean, worst
        Iterations from the start of the game to a request's last token: the mean over all requests, and the largest.
    preemptions
        How often somebody was thrown out.
    """

    iterations: float
    mean: float
    worst: float
    preemptions: int


def requests(seed: int, count: int = 24) -> list[Request]:
    """All there at the start; answers may have 16, 48 or 160 tokens at most, and use from a fifth of that to all."""
    rng = random.Random(seed)
    drawn = []
    for i in range(count):
        most = rng.choices((16, 48, 160), weights=(5, 3, 2))[0]
        prompt = (1,) * rng.randint(8, 64)
        length = max(1, math.ceil(most * rng.uniform(0.2, 1)))
        drawn.append(Request(i, prompt, max_new_tokens=most, output_length=length))
    return drawn


def play(policy: Policy, seeds: tuple[int, ...] = SEEDS) -> Result:
    """Serve the requests of every seed, each time with a copy of the policy as it was handed over.

    Raises
    ------
    PolicyError
        It is no policy, it raised, planned something illegal, or is stuck.
    """
    chosen = get(policy)
    iterations, ends, preemptions = [], [], 0
    for seed in seeds:
        engine = Engine(
            NullExecutor(context_limit=BLOCKS * BLOCK_SIZE, seconds=1.0),
            copy.deepcopy(chosen),
            slots=SLOTS,
            pool=BlockPool(BLOCKS, BLOCK_SIZE),
            arrival_unit="iterations",
        )
        for event in engine.run(requests(seed)):
            ends += [event.index + 1 for _ in event.finished]
            preemptions += len(event.preempted)
        iterations.append(engine.iteration)
    return Result(sum(iterations) / len(iterations), sum(ends) / len(ends), max(ends), preemptions)


@cache
def yardstick() -> Result:
    """What plain continuous batching reaches in the same games: a score of 100."""
    return play(Continuous())
