"""How long a decode step takes on a CPU, by rows and by the way weights are laid out, beside the time to read them.

    python benchmarks/cpu_step.py --json FILE

Five ways over the same weights: *plain*, PyTorch's own products; *packed*, each weight laid out for oneDNN; *together*,
the projections of one input laid out as one; *products*, of these what an engine takes after its short measurement at
load; *chosen*, an engine as it is, with short layers besides. They take turns, a few steps each, so that other work on
the machine disturbs all alike. The floor of a step is the bytes of its weights over the bandwidth at which this machine
reads memory, measured before; keys and values are left out, a few percent here. SmolLM2-135M's shape with random
weights, float32: a step takes as long as with the real ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from result_file import write
from step import decoding, executor_seconds

from cbviz.eager import eager_executor, packed_linear
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.models import LoadedModel, load
from cbviz.run.progress import SilentProgress
from cbviz.run.rates import model_facts

WAYS: dict[str, dict[str, float]] = {
    "plain": {"LEAST_GAIN": inf},
    "packed": {"LEAST_GAIN": 0.0, "LEAST_GAIN_TOGETHER": inf},
    "together": {"LEAST_GAIN": 0.0, "LEAST_GAIN_TOGETHER": 0.0},
    "products": {},
    "chosen": {},
}
"""Way → the thresholds of `packed_linear` that lead to it; all but the last keep the modelling code's layers."""
READ_BYTES = 2**29


@contextmanager
def way(name: str) -> Iterator[None]:
    """Within the block engines lay weights out in this way, whatever was measured before."""
    changed: dict[str, Any] = {"_faster": {}, **WAYS[name]}
    with ExitStack() as until:
        until.enter_context(patch.multiple(packed_linear, **changed))
        if name != "chosen":
            until.enter_context(patch.object(eager_executor, "shorten_layers", return_value=0))
        yield


def read_bandwidth() -> float:
    """Bytes a second at which all threads read a buffer far larger than the caches: the fastest of ten sums."""
    numbers = torch.ones(READ_BYTES // 4)
    taken = []
    for _ in range(10):
        began = perf_counter()
        numbers.sum()
        taken.append(perf_counter() - began)
    return numbers.nbytes / min(taken)


def measure(loaded: LoadedModel, rows: int, bandwidth: float, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step of `rows` rows in every way."""
    setting = decoding(loaded, rows, options.context, options.steps, compiled=False)
    setting = replace(setting, config=replace(setting.config, backend="sdpa"))
    requests = list(setting.workload)
    executors: dict[str, ModelExecutor] = {}
    for name in WAYS:
        with way(name):
            made = setting.executor(SilentProgress())
        assert isinstance(made, ModelExecutor)
        executors[name] = made
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for repeat in range(options.repeats + 1):
        for name, executor in executors.items():
            seconds = executor_seconds(executor, setting, requests, options.steps)
            if repeat:  # the first round fills caches
                taken[name] += seconds
    floor = model_facts(loaded).weight_bytes / bandwidth
    found: dict[str, Any] = {"rows": rows, "floor_ms": floor * 1e3, "ways": {}}
    for name, each in taken.items():
        middle, low = median(each), min(each)
        found["ways"][name] = {
            "ms": middle * 1e3,
            "fastest_ms": low * 1e3,
            "share_of_the_floor": floor / middle,
            "kinds": kinds(executors[name]),
        }
        times = f"{middle * 1e3:8.2f} ms (fastest {low * 1e3:.2f})"
        print(f"{rows:>4} rows, {name:<9} {times}, {floor / middle:6.1%} of the floor", flush=True)
    return found


def kinds(executor: ModelExecutor) -> dict[str, int]:
    """How many linear layers of each kind an engine computes with."""
    found: dict[str, int] = {}
    for part in executor._served.modules():
        name = type(part).__name__
        if name.endswith("Linear"):
            found[name] = found.get(name, 0) + 1
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--rows", type=int, action="append", help="may be given several times (1, 2, 4, 8, 16)")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=24, help="decode steps in a turn")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--threads", type=int, help="default: PyTorch's own number")
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.steps < 10 or options.repeats < 1:
        parser.error("--steps must be at least 10 and --repeats at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    loaded = load(options.model, device="cpu", dtype="float32", progress=False)
    bandwidth = read_bandwidth()
    print(f"reads {bandwidth / 1e9:.1f} GB/s on {torch.get_num_threads()} threads", flush=True)
    found = [measure(loaded, rows, bandwidth, options) for rows in options.rows or (1, 2, 4, 8, 16)]
    if options.json:
        about = {"bandwidth": bandwidth, "threads": torch.get_num_threads()}
        write(options.json, __file__, argv, device="cpu", model=options.model, **about, cpu_steps=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
