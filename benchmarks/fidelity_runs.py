"""Real runs for the simulator: those that its cost model is fitted to, and others that test its forecasts.

    python benchmarks/fidelity_runs.py --set fit --set held-out --out FOLDER
    python benchmarks/fidelity_runs.py --only llama-static-48 opt-static-12 --out FOLDER
    python benchmarks/fidelity_runs.py --model random:opt-13b --list

Each run is undisturbed, repeated, and written as the trace with the median time: `FOLDER/NAME.cbviz`. The file is there
as soon as the first repeat has ended, and is replaced by the new median after every other one, so that a machine that
is taken away costs one repeat at most. The same command again does only what the folder lacks; FOLDER/NAME.seconds says
how many repeats a run has. Runs of one model and one number of slots share an executor, so that its passes are compiled
and its graphs captured once.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from time import perf_counter

import torch

from cbviz.config import EngineConfig
from cbviz.models import LoadedModel, load
from cbviz.paths import write_whole
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


class Repeats:
    """The repeats of one run: seconds in a text file beside the trace, one a line, in order of time.

    Parameters
    ----------
    folder, name
        Where the trace of the median is, and what the run is called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.trace, self._file = folder / f"{name}.cbviz", folder / f"{name}.seconds"
        lines = self._file.read_text("utf-8").split() if self._file.exists() and self.trace.exists() else []
        self.seconds = [float(line) for line in lines]
        self._kept: list[Run] = []

    def add(self, run: Run) -> None:
        """Keep a repeat. The trace is that of the median of those of this process."""
        assert run.lane is not None
        self._kept = sorted([*self._kept, run], key=lambda one: one.seconds)
        middle = self._kept[(len(self._kept) - 1) // 2]
        assert middle.lane is not None
        middle.lane.trace(texts=False).save(self.trace)
        self.seconds.append(run.seconds)
        write_whole(self._file, "".join(f"{seconds:.6f}\n" for seconds in self.seconds))


@dataclass
class TimeLeft:
    """How long the rest takes, from the output tokens of what was done; the time to get ready is counted in."""

    tokens: int
    began: float = field(default_factory=perf_counter)
    done: int = 0

    def after(self, tokens: int) -> str:
        """A remark for the line of a repeat that served so many tokens."""
        self.done += tokens
        left = (perf_counter() - self.began) / self.done * (self.tokens - self.done)
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {max(0.0, left):.0f} s left"


def serve(loaded: LoadedModel, runs: Sequence[Planned], repeats: int, out: Path, left: TimeLeft) -> None:
    """Serve runs of one number of slots on one executor, and write their traces as they end."""
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
        print(f"{run.name}: ready after {perf_counter() - began:.0f} s", flush=True)
        kept = Repeats(out, run.name)
        for number in range(len(kept.seconds), repeats):
            timed = setting.timed(executor, record=True)
            kept.add(timed)
            print(
                f"{run.name}, {number + 1} of {repeats}: {timed.iterations} iterations, {timed.seconds:.3f} s, "
                f"{timed.tokens / timed.seconds:,.0f} tokens/s; {left.after(timed.tokens)}",
                flush=True,
            )
    if executor is not None:
        executor.cache.keys.clear()
        executor.cache.values.clear()


def chosen(sets: Sequence[str] | None, models: Sequence[str] | None, only: Sequence[str] | None) -> list[Planned]:
    """The runs that the options name. Raises SystemExit for a name that is none."""
    known = {run.name: run for name in SETS for run in SETS[name]}
    if wrong := [name for name in only or () if name not in known]:
        raise SystemExit(f"there is no run {wrong[0]}; --list names them.")
    runs = [known[name] for name in only] if only else [run for name in sets or SETS for run in SETS[name]]
    return [run for run in runs if not models or run.model in models]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was chosen; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", choices=SETS, dest="sets", help="may be given several times")
    parser.add_argument("--model", action="append", help="only runs of this model; may be given several times")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these runs, of whatever set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, default=Path("fidelity"))
    parser.add_argument("--list", action="store_true", help="name the runs, and do nothing")
    options = parser.parse_args(argv)
    runs = chosen(options.sets, options.model, options.only)
    if options.list:
        print(*runs, sep="\n")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    missing = {run.name: options.repeats - len(Repeats(options.out, run.name).seconds) for run in runs}
    todo = sorted((run for run in runs if missing[run.name] > 0), key=lambda run: (run.model, run.slots))
    print(f"{len(todo)} of {len(runs)} runs to do", flush=True)
    left = TimeLeft(sum(missing[run.name] * sum(r.output_length or 0 for r in work_of(run, 1_000)) for run in todo))
    for model, of_model in groupby(todo, lambda run: run.model):
        dtype = "float16" if model == OPT else None
        loaded = load(model, device=options.device, dtype=dtype, progress=False)
        for _, of_slots in groupby(of_model, lambda run: run.slots):
            serve(loaded, list(of_slots), options.repeats, options.out, left)
        del loaded
        gc.collect()  # the next model needs the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
