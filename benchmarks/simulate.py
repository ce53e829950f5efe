"""How fast simulations are: requests a second of one core, compiled and as plain Python, and in the loop.

    python benchmarks/simulate.py [--requests 1000000] [--json FILE]

CPU seconds of this process are counted, so that other work on the machine matters less.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from result_file import write

import cbviz
from cbviz.jit import compiled
from cbviz.policies import TGI, Continuous, Policy, Sarathi, Static, VllmV1
from cbviz.simulator import CostModel, Work, load_cost
from cbviz.simulator.fast import Memory, skipping_forecast
from cbviz.simulator.reserving import serve_reserving
from cbviz.workload import ExponentialClipped

SLOTS, BLOCK_SIZE, MEAN, LONGEST = 32, 16, 200, 1_000
AMPLE, TIGHT = 10**6, 600
AFFINE = CostModel(iteration=5e-3, decode=1e-5)
PLAIN_REQUESTS, LOOP_REQUESTS = 50_000, 4_000


class OfALearner:
    """Continuous batching as a learner writes it: cbviz cannot know that it could be skipped."""

    name, summary = "of a learner", "refills slots"

    def plan(self, view: cbviz.View) -> cbviz.Plan:
        """See `Policy.plan`."""
        return cbviz.Plan(admit=view.fitting())


def work_of(n: int) -> Work:
    """Poisson arrivals at 90 % of what 32 slots serve, prompts of 64 to 255 tokens, exponential outputs of mean 200."""
    rng = np.random.default_rng(0)
    outputs = np.clip(rng.exponential(MEAN, n), 1, LONGEST).astype(np.int64)
    rate = 0.9 * SLOTS / (MEAN * AFFINE.iteration)
    return Work(np.cumsum(rng.exponential(1 / rate, n)), rng.integers(64, 256, n), outputs, name="benchmark")


def rows() -> list[tuple[str, Policy, CostModel, int]]:
    """What is timed: a description, a policy, a cost model and KV blocks."""
    full = load_cost("h100-llama-3.1-8b")
    return [
        ("continuous, slots, a + bB", Continuous(), AFFINE, AMPLE),
        ("continuous, all coefficients", Continuous(), full, AMPLE),
        ("static, all coefficients", Static(), full, AMPLE),
        ("vllm_v1, blocks, chunks", VllmV1(512), full, AMPLE),
        ("vllm_v1, blocks, chunks, preemption", VllmV1(512), full, TIGHT),
        ("sarathi, blocks, chunks, preemption", Sarathi(512), full, TIGHT),
    ]


def timed(policy: Policy, work: Work, cost: CostModel, blocks: int, *, plain: bool) -> dict[str, Any]:
    """Requests a CPU second of one simulation, after a short one that compiles."""
    memory = Memory(SLOTS, blocks, BLOCK_SIZE, work.longest)
    skipping_forecast(policy, work.first(10), cost, memory, 0, plain=plain)
    began = process_time()
    served = skipping_forecast(policy, work, cost, memory, 0, plain=plain)
    seconds = process_time() - began
    assert served is not None
    found = served[0]
    return {
        "how": found.how,
        "requests": len(work),
        "requests_per_second": len(work) / seconds,
        "iterations": found.iterations,
        "preemptions": int(found.preemptions.sum()),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Time everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    results: list[dict[str, Any]] = []
    for plain in (False, True):
        if not plain and compiled(serve_reserving) is None:
            print("numba is not installed: pip install cbviz[fast]")
            continue
        work = work_of(PLAIN_REQUESTS if plain else options.requests)
        for what, policy, cost, blocks in rows():
            results.append({"what": what, **timed(policy, work, cost, blocks, plain=plain)})
            print("{what}, {how}: {requests_per_second:,.0f} requests/s, {preemptions:,} preemptions"
                  .format(**results[-1]), flush=True)  # fmt: skip
        if not plain:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{options.requests:,} requests: at most {peak:.2f} GiB")
            results.append({"what": "memory", "requests": options.requests, "GiB": peak})
    work = Work.draw(LOOP_REQUESTS, ExponentialClipped(mean=128, cap=512), prompt_tokens=128)
    asked: tuple[Policy, ...] = (OfALearner(), TGI())
    for policy in asked:
        began = process_time()
        found = cbviz.forecast(work, policy, cost=load_cost("h100-llama-3.1-8b"), slots=SLOTS)
        seconds = process_time() - began
        results.append({"what": policy.name, "how": found.how, "requests": LOOP_REQUESTS,
                        "requests_per_second": LOOP_REQUESTS / seconds, "iterations": found.iterations})  # fmt: skip
        print("{what}, {how}: {requests_per_second:,.0f} requests/s, {iterations:,} iterations".format(**results[-1]))
    if options.json is not None:
        write(options.json, __file__, argv, machine=platform.processor() or platform.machine(), rows=results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
