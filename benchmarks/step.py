"""How long one decode step takes, by rows and context, compared with the time to read the weights and the cache.

    python benchmarks/step.py --json FILE
    python benchmarks/step.py --case random:opt-13b:16 --context 700 --dtype float16

There are two clocks, both of device events from the end of one step to the end of the next. *executor*: steps are
launched one ahead, while the host only fills their inputs. *engine*: the whole loop, including policy, bookkeeping and
events. Contexts grow by one token per step; `--context` is their middle.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from result_file import write

from cbviz.config import EngineConfig
from cbviz.core.executor import Executor, Seat, Step
from cbviz.models import LoadedModel, load
from cbviz.models.device import device_name
from cbviz.policies import Continuous
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.progress import SilentProgress
from cbviz.run.rates import measured_rates, model_facts
from cbviz.run.timed_run import Setting
from cbviz.workload import Request, Workload
from cbviz.workload.lengths import Fixed
from cbviz.workload.synthetic import synthetic

CASES = (
    "random:llama-3.1-8b:1",
    "random:llama-3.1-8b:32",
    "random:llama-3.1-8b:128",
    "random:smollm2-135m:1",
    "random:smollm2-135m:128",
)
SKIPPED = 4
"""Steps at each end that are not counted."""


def case(text: str) -> tuple[str, int]:
    model, _, rows = text.rpartition(":")
    if not model or not rows.isdecimal() or not int(rows):
        raise argparse.ArgumentTypeError(f"must be MODEL:ROWS, such as random:llama-3.1-8b:32, not {text!r}")
    return model, int(rows)


def decoding(loaded: LoadedModel, slots: int, context: int, steps: int, *, compiled: bool) -> Setting:
    """A setting in which all slots decode for `steps` steps; halfway, their contexts are `context` tokens long."""
    cuda = loaded.device.type == "cuda"
    block_size = 32 if cuda else 16
    prompt = max(1, context - steps // 2)
    work = synthetic(slots, Fixed(steps), prompt_tokens=prompt, vocabulary=loaded.vocabulary)
    blocks = choose_kv_blocks(loaded, work, slots=slots, block_size=block_size)
    config = EngineConfig(slots, blocks, block_size, lag=int(cuda), backend="graphs", compiled=compiled)
    return Setting(loaded, Continuous(), work, config)


def executor_seconds(executor: Executor, setting: Setting, requests: list[Request], steps: int) -> list[float]:
    """Seconds of decode steps, each launched before the previous one has ended."""
    rows = np.arange(len(requests), dtype=np.int32)
    prompt = np.full(len(requests), len(requests[0].prompt), np.int32)
    columns = -(-(len(requests[0].prompt) + requests[0].max_new_tokens) // setting.config.block_size)
    tables = np.full((setting.config.slots, columns), -1, np.int32)
    tables[rows] = np.arange(len(rows) * columns, dtype=np.int32).reshape(len(rows), columns)
    seats = tuple(Seat(i, np.array(r.prompt, np.int32), r.sampling) for i, r in enumerate(requests))
    ones, zeros = np.ones_like(prompt), np.zeros_like(prompt)
    executor.collect(executor.launch(Step(0, seats, rows, zeros, prompt, zeros, tables)))
    tickets: deque[Any] = deque()
    taken: list[float] = []
    began = perf_counter()
    for step in range(1, steps):
        tickets.append(executor.launch(Step(step, (), rows, prompt + (step - 1), ones, ones * step, tables)))
        if len(tickets) > setting.config.lag:
            seconds = executor.collect(tickets.popleft()).seconds
            now = perf_counter()
            taken.append(now - began if seconds is None else seconds)
            began = now
    while tickets:
        executor.collect(tickets.popleft())
    return taken[SKIPPED:-SKIPPED]


def engine_seconds(executor: Any, setting: Setting, requests: list[Request]) -> list[float]:
    """Seconds of the decode iterations in a run in which all requests start together."""
    some = replace(setting, workload=Workload("", tuple(requests)))
    engine = some.engine(executor)
    taken = []
    while (event := engine.step()) is not None:
        if event.useful == len(requests) and not event.admitted:
            taken.append(event.seconds)
    return taken[SKIPPED:-SKIPPED]


def measure(
    loaded: LoadedModel, rows: list[int], context: int, steps: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One model at several numbers of rows; one executor serves them all."""
    setting = decoding(loaded, max(rows), context, steps, compiled=not options.no_compile)
    facts, rates = model_facts(loaded), measured_rates(loaded.device, loaded.dtype)
    began = perf_counter()
    executor = setting.executor(SilentProgress())
    ready = perf_counter() - began
    found: list[dict[str, Any]] = []
    for n in rows:
        requests = list(setting.workload)[:n]
        engine_seconds(executor, setting, requests)  # warms up
        alone = median(executor_seconds(executor, setting, requests, steps))
        whole = engine_seconds(executor, setting, requests)
        floor = (facts.weight_bytes + n * context * facts.kv_bytes_per_token) / rates.bandwidth
        found.append(
            {
                "model": loaded.name,
                "dtype": str(loaded.dtype).removeprefix("torch."),
                "rows": n,
                "context": context,
                "executor_ms": alone * 1e3,
                "engine_ms": median(whole) * 1e3,
                "engine_ms_range": [min(whole) * 1e3, max(whole) * 1e3],
                "floor_ms": floor * 1e3,
                "efficiency": floor / median(whole),
                "tokens_per_second": n / median(whole),
                "bandwidth": rates.bandwidth,
                "seconds_to_capture": ready,
            }
        )
        print(
            "{model} {dtype}, {rows} rows at {context}: executor {executor_ms:.2f} ms, engine {engine_ms:.2f} ms, "
            "floor {floor_ms:.2f} ms ({efficiency:.0%}), {tokens_per_second:,.0f} tokens/s".format(**found[-1]),
            flush=True,
        )
    executor.cache.keys.clear()
    executor.cache.values.clear()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=case, action="append", help="MODEL:ROWS, several times; default: five cases")
    parser.add_argument("--context", type=int, default=400)
    parser.add_argument("--steps", type=int, default=64, help="decode steps a run")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.steps <= 2 * SKIPPED + 2 or options.context < 1:
        parser.error(f"--steps must be above {2 * SKIPPED + 2} and --context at least 1")
    cases: dict[str, list[int]] = {}
    for model, rows in options.case or [case(text) for text in CASES]:
        cases.setdefault(model, []).append(rows)
    found: list[dict[str, Any]] = []
    name = ""
    for model, rows in cases.items():
        loaded = load(model, device=options.device, dtype=options.dtype, progress=False)
        name = device_name(loaded.device)
        found += measure(loaded, rows, options.context, options.steps, options)
        if options.json:
            write(options.json, __file__, argv, device=name, steps=found)
        del loaded
    return 0


if __name__ == "__main__":
    sys.exit(main())
