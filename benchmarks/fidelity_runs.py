"""Real runs for the simulator: those that its cost model is fitted to, and others that test its forecasts.

    python benchmarks/fidelity_runs.py --set fit --set held-out --out FOLDER
    python benchmarks/fidelity_runs.py --model random:opt-13b --list

Each run is undisturbed, repeated, and written as the trace with the median time: `FOLDER/NAME.cbviz`. Runs of one model
and one number of slots share an executor, so that graphs are captured once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import perf_counter

from cbviz.config import EngineConfig
from cbviz.models import LoadedModel, load
from cbviz.policies import get
from cbviz.run.build import build_executor
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.timed_run import Run, Setting
from cbviz.workload import Workload
from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess, Poisson
from cbviz.workload.lengths import ExponentialClipped
from cbviz.workload.synthetic import synthetic

BLOCK_SIZE = 32
LLAMA, OPT, SMOLLM2 = "random:llama-3.1-8b", "random:opt-13b", "random:smollm2-135m"


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: what serves which work. `rate` is in requests a second; 0 means that all arrive at once."""

    name: str
    model: str
    policy: str
    slots: int
    requests: int
    prompt: int
    longest: int
    seed: int
    rate: float = 0.0
    kv_tokens: int | None = None


SETS: dict[str, tuple[Planned, ...]] = {
    "fit": (
        Planned("llama-continuous-64", LLAMA, "continuous", 64, 192, 128, 512, 1),
        Planned("llama-sarathi-64", LLAMA, "sarathi", 64, 128, 512, 512, 2),
        Planned("llama-static-64", LLAMA, "static", 64, 128, 256, 256, 3),
        Planned("llama-long-16", LLAMA, "sarathi", 16, 32, 2048, 256, 4),
        Planned("smollm2-continuous-64", SMOLLM2, "continuous", 64, 384, 128, 512, 1),
        Planned("smollm2-sarathi-64", SMOLLM2, "sarathi", 64, 256, 512, 512, 2),
        Planned("smollm2-static-64", SMOLLM2, "static", 64, 128, 256, 256, 3),
        Planned("opt-continuous-16", OPT, "continuous", 16, 48, 512, 512, 1),
        Planned("opt-static-16", OPT, "static", 16, 32, 512, 512, 2),
        Planned("opt-sarathi-16", OPT, "sarathi", 16, 32, 512, 256, 3),
    ),
    "held-out": (
        Planned("llama-continuous-48-poisson", LLAMA, "continuous", 48, 160, 128, 512, 11, rate=16.0),
        Planned("llama-static-48", LLAMA, "static", 48, 144, 128, 512, 12),
        Planned("llama-continuous-48", LLAMA, "continuous", 48, 144, 128, 512, 12),
        Planned("llama-vllm_v1-48-tight", LLAMA, "vllm_v1", 48, 144, 256, 512, 13, kv_tokens=9_600),
        Planned("llama-sarathi-48-poisson", LLAMA, "sarathi", 48, 128, 512, 512, 14, rate=10.0),
        Planned("smollm2-continuous-96", SMOLLM2, "continuous", 96, 512, 128, 512, 12),
        Planned("smollm2-static-96", SMOLLM2, "static", 96, 512, 128, 512, 12),
        Planned("smollm2-vllm_v1-96-poisson", SMOLLM2, "vllm_v1", 96, 512, 256, 512, 13, rate=160.0),
        Planned("opt-continuous-12", OPT, "continuous", 12, 48, 512, 512, 12),
        Planned("opt-static-12", OPT, "static", 12, 48, 512, 512, 12),
        Planned("opt-vllm_v1-12-poisson", OPT, "vllm_v1", 12, 40, 512, 512, 13, rate=2.5),
    ),
}


def work_of(run: Planned, vocabulary: int) -> Workload:
    """The workload of a run. The same on every machine.

    Parameters
    ----------
    run
        One row of `SETS`.
    vocabulary
        Token ids that the model has.

    Returns
    -------
    Workload
        Prompts of one length, outputs exponential with mean 128, clipped and forced.
    """
    arrivals: ArrivalProcess = Poisson(run.rate) if run.rate else AllAtOnce()
    law = ExponentialClipped(128, run.longest)
    return synthetic(
        run.requests, law, prompt_tokens=run.prompt, arrivals=arrivals, vocabulary=vocabulary, seed=run.seed
    )


def blocks_of(run: Planned, loaded: LoadedModel, work: Workload) -> int:
    """KV blocks of a run: what its memory holds, or what its work can use."""
    if run.kv_tokens is not None:
        return run.kv_tokens // BLOCK_SIZE
    return choose_kv_blocks(loaded, work, slots=run.slots, block_size=BLOCK_SIZE)


def serve(loaded: LoadedModel, runs: Sequence[Planned], repeats: int, out: Path) -> None:
    """Serve runs of one number of slots on one executor, and write their traces."""
    works = [work_of(run, loaded.vocabulary) for run in runs]
    cuda = loaded.device.type == "cuda"
    blocks = [blocks_of(run, loaded, work) for run, work in zip(runs, works, strict=True)]
    executor = None
    for run, work, size in sorted(zip(runs, works, blocks, strict=True), key=lambda item: -item[2]):
        config = EngineConfig(
            run.slots, size, BLOCK_SIZE, lag=int(cuda), backend="graphs" if cuda else "sdpa", compiled=cuda,
            context_limit=max(each.longest for each in works),
        )  # fmt: skip
        setting = Setting(loaded, get(run.policy), work, config)
        began = perf_counter()
        if executor is None:  # the largest pool comes first; smaller ones use a part of its cache
            widest = max(works, key=lambda each: max(len(request.prompt) for request in each))
            executor = build_executor(loaded, config, widest)
        setting.warm_up(executor)
        ready = perf_counter() - began
        timed: list[Run] = sorted(
            (setting.timed(executor, record=True) for _ in range(repeats)), key=lambda r: r.seconds
        )
        middle = timed[(len(timed) - 1) // 2]
        assert middle.lane is not None
        middle.lane.trace(texts=False).save(out / f"{run.name}.cbviz")
        spread = ", ".join(f"{one.seconds:.3f}" for one in timed)
        print(
            f"{run.name}: {middle.iterations} iterations, {middle.tokens / middle.seconds:,.0f} tokens/s; "
            f"seconds {spread}; ready after {ready:.0f} s",
            flush=True,
        )
    if executor is not None:
        executor.cache.keys.clear()
        executor.cache.values.clear()


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was chosen; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", choices=SETS, dest="sets", help="may be given several times")
    parser.add_argument("--model", action="append", help="only runs of this model; may be given several times")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, default=Path("fidelity"))
    parser.add_argument("--list", action="store_true", help="name the runs, and do nothing")
    options = parser.parse_args(argv)
    runs = [run for name in options.sets or SETS for run in SETS[name] if options.model in (None, [])
            or run.model in options.model]  # fmt: skip
    if options.list:
        print(*runs, sep="\n")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for model, of_model in groupby(sorted(runs, key=lambda run: (run.model, run.slots)), lambda run: run.model):
        dtype = "float16" if model == OPT else None
        loaded = load(model, device=options.device, dtype=dtype, progress=False)
        for _, of_slots in groupby(of_model, lambda run: run.slots):
            serve(loaded, list(of_slots), options.repeats, options.out)
        del loaded
    return 0


if __name__ == "__main__":
    sys.exit(main())
