"""Data-parallel replicas of the engine, one a GPU: one against several, and the routing rules against each other.

    python benchmarks/replicas.py --json FILE                          # as many replicas as there are GPUs
    python benchmarks/replicas.py --device cpu --model tiny --requests 24 --cap 64 --replicas 2 --where here

The output lengths are forced, so all runs do the same work. Seconds are those of the replicas' own clocks, which count
their iterations and nothing else; starting the processes is not in them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from result_file import write

from cbviz.measure import latencies
from cbviz.models import load
from cbviz.models.device import device_name
from cbviz.run.replicas import replicate
from cbviz.workload import Poisson, Workload, synthetic
from cbviz.workload.lengths import ExponentialClipped

RULES = ("round_robin", "least_outstanding", "power_of_two")


def work(count: int, cap: int, rate: float | None, vocabulary: int) -> Workload:
    """Prompts of 128 tokens, outputs exponential with a mean of cap/4; None lets all arrive at once."""
    law, arrivals = ExponentialClipped(cap // 4, cap), Poisson(rate or 1e6)
    return synthetic(count, law, arrivals, prompt_tokens=128, vocabulary=vocabulary, seed=0)


def row(name: str, options: argparse.Namespace, replicas: int, routing: str, served: Workload) -> dict[str, Any]:
    """One run in numbers."""
    found = replicate(
        served, options.model, replicas=replicas, routing=routing, where=options.where, slots=options.slots,
        device=options.device, dtype=options.dtype,
    )  # fmt: skip
    tokens = sum(len(answer) for answer in found.answers.values())
    waits = sorted(float(wait) for trace in found.traces if len(trace.iterations) for wait in latencies(trace).ttft)
    made = {
        "run": name,
        "replicas": replicas,
        "routing": routing,
        "requests": list(found.requests),
        "iterations": [len(trace.iterations) for trace in found.traces],
        "seconds": found.seconds,
        "tokens_per_second": tokens / found.seconds,
        "p50_ttft": waits[len(waits) // 2],
        "p99_ttft": waits[int(len(waits) * 0.99)],
        "imbalance": found.imbalance,
        "answers": {str(request): list(answer) for request, answer in found.answers.items()},
    }
    print(
        f"{name:>7} {replicas} × {routing:<18} {made['iterations']} iterations, {found.seconds:.2f} s, "
        f"{made['tokens_per_second']:,.0f} tokens/s, p99 TTFT {made['p99_ttft']:.3f} s",
        flush=True,
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--cap", type=int, default=512, help="the longest output; the mean is a quarter (512)")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--replicas", type=int, default=max(2, torch.cuda.device_count()))
    parser.add_argument("--share", type=float, default=0.9, help="of what all replicas serve of a burst, as the rate")
    parser.add_argument("--where", default="processes", choices=("here", "processes", "ray"))
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    device, vocabulary = device_name(loaded.device), loaded.vocabulary
    del loaded
    served, rate = work(options.requests, options.cap, None, vocabulary), None
    rows: list[dict[str, Any]] = []
    alone: dict[str, list[int]] = {}
    for count, rule in ((1, "round_robin"), (options.replicas, "round_robin"), *((options.replicas, r) for r in RULES)):
        if len(rows) == 2:
            rate = options.share * options.requests / rows[-1]["seconds"]
            served = work(options.requests, options.cap, rate, vocabulary)
        made = row("burst" if rate is None else "Poisson", options, count, rule, served)
        answers = made.pop("answers")
        alone = alone or answers
        rows.append({**made, "answers_as_alone": sum(answers[request] == alone[request] for request in alone)})
        if options.json:  # after every run: a machine may be taken away
            write(options.json, __file__, argv, device=device, rate=rate, runs=rows)
    print(f"{options.replicas} replicas: {rows[0]['seconds'] / rows[1]['seconds']:.2f} × the speed of one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
