"""What each idea of the GPU engine is worth: one decode step, rung by rung, from eager PyTorch to the whole engine.

    python benchmarks/ladder.py --json FILE
    python benchmarks/ladder.py --case random:smollm2-135m:128 --context 256

Every rung includes the rungs before it; the first launches the same passes kernel by kernel. Steps are timed as in
`step.py`: launched one ahead, by device events, while the host only fills their inputs.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from result_file import write
from step import case, decoding, executor_seconds

from cbviz.cuda import compiled, static_forward
from cbviz.cuda.fused_gate import fuse_gate
from cbviz.cuda.fused_projections import fuse_projections
from cbviz.cuda.fused_rotary import fuse_rotary
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.models import LoadedModel, load
from cbviz.models.device import device_name
from cbviz.run.progress import SilentProgress
from cbviz.run.rates import measured_rates, model_facts
from cbviz.run.timed_run import Setting

CASES = ("random:llama-3.1-8b:1", "random:llama-3.1-8b:32", "random:llama-3.1-8b:128", "random:smollm2-135m:128")


class Rung(NamedTuple):
    """The engine's features on this rung."""

    name: str
    graphs: bool = True
    compiled: bool = True
    fused: bool = True
    rotary: bool = True
    gate: bool = True
    settings: bool = True


RUNGS = (
    Rung("eager: PyTorch launches one kernel after the other", False, False, False, False, False, False),
    Rung("the same as one CUDA graph", True, False, False, False, False, False),
    Rung("layers by torch.compile", True, True, False, False, False, False),
    Rung("sibling projections in one product", True, True, True, False, False, False),
    Rung("rotary embedding within attention", True, True, True, True, False, False),
    Rung("gate and up of a small model in one kernel", settings=False),
    Rung("Inductor's settings, for one token too"),
)


@contextmanager
def without_what_comes_later(rung: Rung) -> Iterator[None]:
    """Within the block, graphs are rewritten and compiled as on this rung."""
    torch._dynamo.reset()
    with patch.multiple(
        compiled,
        fuse_projections=fuse_projections if rung.fused else _leave_it,
        fuse_rotary=fuse_rotary if rung.rotary else _leave_it,
        fuse_gate=fuse_gate if rung.gate else _leave_it,
        INDUCTOR=compiled.INDUCTOR if rung.settings else {},
        ONE_TOKEN=compiled.ONE_TOKEN if rung.settings else {},
    ):
        yield
    torch._dynamo.reset()


def _leave_it(graph_module: torch.fx.GraphModule, equal: bool = True) -> int:
    """Replaces a rewrite, and changes nothing."""
    return 0


def executor_of(rung: Rung, setting: Setting) -> GraphExecutor:
    """The executor of a rung: with graphs, or with the same passes launched kernel by kernel."""
    with nullcontext() if rung.graphs else patch.object(static_forward, "capture", lambda *_: None):
        made = setting.executor(SilentProgress())
    assert isinstance(made, GraphExecutor)
    return made


def climb(
    loaded: LoadedModel, rows: list[int], context: int, steps: int, rungs: Sequence[Rung]
) -> Iterator[dict[str, Any]]:
    """Every rung for one model, at several numbers of rows."""
    facts, rates = model_facts(loaded), measured_rates(loaded.device, loaded.dtype)
    for rung in rungs:
        setting = decoding(loaded, max(rows), context, steps, compiled=rung.compiled)
        with without_what_comes_later(rung):
            began = perf_counter()
            executor = executor_of(rung, setting)
            ready = perf_counter() - began
            for n in rows:
                requests = list(setting.workload)[:n]
                executor_seconds(executor, setting, requests, steps)  # warms up
                taken = executor_seconds(executor, setting, requests, steps)
                floor = (facts.weight_bytes + n * context * facts.kv_bytes_per_token) / rates.bandwidth
                yield {
                    "model": loaded.name,
                    "dtype": str(loaded.dtype).removeprefix("torch."),
                    "rows": n,
                    "context": context,
                    "rung": rung.name,
                    "milliseconds": median(taken) * 1e3,
                    "range": [min(taken) * 1e3, max(taken) * 1e3],
                    "floor_ms": floor * 1e3,
                    "seconds_to_start": ready,
                }
            executor.cache.keys.clear()
            executor.cache.values.clear()
            del executor
            gc.collect()
            if loaded.device.type == "cuda":
                torch.cuda.empty_cache()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=case, action="append", help="MODEL:ROWS, several times; default: four cases")
    parser.add_argument("--context", type=int, default=400)
    parser.add_argument("--steps", type=int, default=40, help="decode steps a run (40)")
    parser.add_argument("--rungs", type=int, default=len(RUNGS), help="run only this many rungs, from the first")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.steps <= 10 or options.context < 1 or not 1 <= options.rungs <= len(RUNGS):
        parser.error(f"--steps must be above 10, --context at least 1 and --rungs from 1 to {len(RUNGS)}")
    cases: dict[str, list[int]] = {}
    for model, rows in options.case or [case(text) for text in CASES]:
        cases.setdefault(model, []).append(rows)
    found: list[dict[str, Any]] = []
    for model, rows in cases.items():
        loaded = load(model, device=options.device, dtype=options.dtype, progress=False)
        for one in climb(loaded, rows, options.context, options.steps, RUNGS[: options.rungs]):
            found.append(one)
            print("{model}, {rows} rows: {milliseconds:8.3f} ms  {rung}".format(**one), flush=True)
            if options.json:
                write(options.json, __file__, argv, device=device_name(loaded.device), ladder=found)
        del loaded
    return 0


if __name__ == "__main__":
    sys.exit(main())
