"""What recording costs: the same runs with and without a recorder, in turns, on one executor.

    python benchmarks/recording.py --json FILE

Recording stores every slot of every iteration, so it costs most with many slots and short iterations: the default is
256 slots, on a large model and on a small one. Times are wall-clock times; building the trace afterwards is timed
separately. Runs vary by more than recording costs, so the time spent in the recorder is measured as well.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from result_file import write

from cbviz.config import EngineConfig
from cbviz.events import Iteration
from cbviz.models import load
from cbviz.models.device import device_name
from cbviz.policies import Continuous
from cbviz.run.bench_work import named_workload
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.progress import SilentProgress
from cbviz.run.timed_run import Setting

MODELS = ("random:llama-3.1-8b", "random:smollm2-135m")


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    loaded = load(name, device=options.device, progress=False)
    cuda = loaded.device.type == "cuda"
    work = named_workload("exponential", loaded, requests=options.requests, max_new_tokens=options.max_new_tokens)
    block_size = 32 if cuda else 16
    blocks = choose_kv_blocks(loaded, work, slots=options.slots, block_size=block_size)
    config = EngineConfig(
        options.slots, blocks, block_size, lag=int(cuda), backend="graphs" if cuda else "sdpa", compiled=cuda
    )
    setting = Setting(loaded, Continuous(), work, config)
    executor = setting.executor(SilentProgress())
    run = setting.timed(executor, record=False)  # warms up
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for repeat in range(options.repeats):
        # The order alternates, so that neither is always first.
        for record in (False, True) if repeat % 2 == 0 else (True, False):
            seconds[record].append(setting.timed(executor, record).seconds)
    lane = setting.lane(executor)
    within, add = 0.0, lane._recorder.add

    def timed_add(event: Iteration, *untold: Any) -> None:
        nonlocal within
        began = perf_counter()
        add(event, *untold)
        within += perf_counter() - began

    lane._recorder.add = timed_add  # type: ignore[method-assign, assignment]
    began = perf_counter()
    while lane.step() is not None:
        pass
    whole = perf_counter() - began
    began = perf_counter()
    lane.trace(texts=False)
    off, on = median(seconds[False]), median(seconds[True])
    executor.cache.keys.clear()
    executor.cache.values.clear()
    found = {
        "model": loaded.name,
        "device": device_name(loaded.device),
        "slots": options.slots,
        "requests": options.requests,
        "iterations": run.iterations,
        "output_tokens": run.tokens,
        "seconds_off": off,
        "seconds_on": on,
        "runs_off": seconds[False],
        "runs_on": seconds[True],
        "tokens_per_second_off": run.tokens / off,
        "tokens_per_second_on": run.tokens / on,
        "cost": on / off - 1,
        "share_of_time_in_recorder": within / whole,
        "microseconds_an_iteration_in_recorder": within / run.iterations * 1e6,
        "seconds_to_make_the_trace": perf_counter() - began,
    }
    print(
        "{model} on {slots} slots: {tokens_per_second_off:,.0f} tokens/s without, {tokens_per_second_on:,.0f} with "
        "recording: {cost:+.2%}; {share_of_time_in_recorder:.2%} of the time is spent in the recorder".format(**found),
        flush=True,
    )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"may be given several times ({', '.join(MODELS)})")
    parser.add_argument("--requests", type=int, default=1024)
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    found = []
    for name in options.model or MODELS:
        found.append(measure(name, options))
        if options.json:
            write(options.json, __file__, argv, runs=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
