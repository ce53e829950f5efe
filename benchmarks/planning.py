"""The host's cost of an iteration: planning under each policy, and the whole loop around it, without a model.

    python benchmarks/planning.py --json FILE

256 requests run and as many wait, on an executor that computes nothing. *plan* is the policy, the check of its plan,
and the views that it reads; *loop* is everything that the engine does in an iteration, including planning. Figures are
medians over all iterations of several runs, in milliseconds of the thread's own CPU time, so that other programs on the
machine disturb them little, and 99th percentiles.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from time import thread_time
from typing import Any
from unittest.mock import patch

import numpy as np
from result_file import write

import cbviz.core.loop as loop
from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.policies import Policy, get
from cbviz.policies.check import ask
from cbviz.workload.lengths import ExponentialClipped
from cbviz.workload.synthetic import synthetic

POLICIES = ("static", "continuous", "orca", "tgi", "vllm_v0", "vllm_v1", "sarathi")
BLOCK = 16


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One policy, with memory for all requests and then for half of them, so that reservations and paging bind."""
    law = ExponentialClipped(128, 512)
    work = synthetic(options.requests, law, prompt_tokens=128, vocabulary=1000)
    longest = -(-(128 + 512) // BLOCK)
    found: dict[str, Any] = {"policy": name}
    for memory, blocks in (("roomy", options.slots * longest), ("tight", max(longest, options.slots * longest // 4))):
        plans: list[float] = []
        iterations: list[float] = []
        for _ in range(options.repeats):
            for asked, whole in _run(get(name), work.requests, options.slots, blocks):
                plans.append(asked)
                iterations.append(whole)
        plan, whole_loop = np.array(plans) * 1e3, np.array(iterations) * 1e3
        found[memory] = {
            "iterations": len(plan) // options.repeats,
            "plan_ms": float(np.median(plan)),
            "plan_p99_ms": float(np.percentile(plan, 99)),
            "loop_ms": float(np.median(whole_loop)),
            "loop_p99_ms": float(np.percentile(whole_loop, 99)),
        }
        numbers = "plan {plan_ms:.3f} ms (p99 {plan_p99_ms:.3f}), loop {loop_ms:.3f} ms (p99 {loop_p99_ms:.3f})"
        print(f"{name:<12} {memory:<6} {numbers.format(**found[memory])}", flush=True)
    return found


def _run(policy: Policy, requests: Sequence[Any], slots: int, blocks: int) -> list[tuple[float, float]]:
    """(seconds to plan, seconds of the whole iteration) for every iteration of a run."""
    engine = Engine(NullExecutor(4096, 0.001), policy, slots=slots, pool=BlockPool(blocks, BLOCK))
    engine.submit(*requests)
    asked = 0.0

    def timed(policy: Policy, view: Any) -> Any:
        nonlocal asked
        began = thread_time()
        plan = ask(policy, view)
        asked += thread_time() - began
        return plan

    found: list[tuple[float, float]] = []
    with patch.object(loop, "ask", timed):
        while True:
            asked, began = 0.0, thread_time()
            if engine.step() is None:
                return found
            found.append((asked, thread_time() - began))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", action="append", help=f"may be given several times ({', '.join(POLICIES)})")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    found = [measure(name, options) for name in options.policy or POLICIES]
    if options.json:
        machine = platform.processor() or platform.machine()
        sizes = {"slots": options.slots, "requests": options.requests}
        write(options.json, __file__, argv, machine=machine, **sizes, policies=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
