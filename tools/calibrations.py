"""Make the calibrations that ship, each from its runs, by one command.

    python tools/calibrations.py h100      # from the recorded runs in cbviz and in benchmarks/results/fidelity
    python tools/calibrations.py h200      # from the runs in benchmarks/results/fidelity/h200
    python tools/calibrations.py a100      # derived from published figures and the roofline
    python tools/calibrations.py h100-opt  # derived from one measured run of OPT-13B's shape and the roofline
    python tools/calibrations.py cpu       # records runs on this machine first: leave it alone meanwhile

The files are written to cbviz/simulator/calibrations.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cbviz
from cbviz.simulator import CostModel, Origin, Work, load_cost, save_cost
from cbviz.simulator.cost_file import FOLDER
from cbviz.workload import ExponentialTruncated

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "benchmarks" / "results" / "fidelity"
SHAPES = {"llama": "llama-3.1-8b", "smollm2": "smollm2-135m", "opt": "opt-13b"}
RECORDED = {"h100-llama-3.1-8b": ("llama-8b-32", "llama-8b-128")}

# What is published of OPT-13B on an A100-40GB (Anyscale, June 2023), and of that card.
PUBLISHED_TOKENS = 81.0
"""Prompt and output tokens a second of static batches of 4, outputs truncated at 1,536, padded to the longest of the
data set."""
PARAMETERS, LAYERS, HIDDEN = 12.85e9, 40, 5_120
BANDWIDTH, FLOPS = 1.555e12, 312e12
REACHED_BANDWIDTH, REACHED_FLOPS = 3.02 / 3.35, 798 / 989
"""Shares of the data sheet that an H100 reached, measured; taken for the A100, too."""


def measured(card: str, runs: Path) -> None:
    """Fit to the runs of a card that are there for fitting; those that test forecasts are never among them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from fidelity_runs import SETS

    for prefix, shape in SHAPES.items():
        name = f"{card}-{shape}"
        paths = [runs / f"{run.name}.cbviz" for run in SETS["fit"] if run.name.startswith(f"{prefix}-")]
        traces = [cbviz.load(path) for path in paths if path.exists()]
        traces += [trace for recording in RECORDED.get(name, ()) for trace in cbviz.recorded(recording)]
        if traces:
            write(cbviz.calibrate(traces, name=name))
        else:
            print(f"{name}: no runs in {runs}")


def a100() -> None:
    """Roofline for all terms but one: an iteration takes as long as the published 81 tokens/s imply."""
    roofline = opt_roofline(BANDWIDTH * REACHED_BANDWIDTH, FLOPS * REACHED_FLOPS)
    at_floor, iterations = published(roofline)
    total = published_tokens()
    excess = (total / PUBLISHED_TOKENS - at_floor) / iterations
    notes = (
        "Derived, not measured: bandwidth 1,555 GB/s and 312 TFLOP/s of the A100-40GB's data sheet, each times the "
        "share that an H100 reached; 819,200 bytes of KV cache a token; 25.7 GB of weights.",
        f"The roofline sets {roofline.iteration * 1e3:.1f} ms for an iteration; what is here makes static batching of "
        "Anyscale's benchmark (June 2023, batches of 4, outputs truncated at 1,536, padded to the longest of the data "
        "set) reach its published 81 tokens/s, prompts counted.",
    )
    origin = Origin("derived", "NVIDIA A100-SXM4-40GB", "opt-13b", "float16", notes=notes)
    write(replace(roofline, iteration=roofline.iteration + excess, name="a100-40gb-opt-13b", origin=origin))


def opt_roofline(bandwidth: float, flops: float) -> CostModel:
    """What OPT-13B's shape must at least read and compute."""
    return CostModel(
        iteration=2 * PARAMETERS / bandwidth,
        kv_token=2 * LAYERS * HIDDEN * 2 / bandwidth,
        prefill_token=2 * PARAMETERS / flops,
        attention=4 * LAYERS * HIDDEN / flops,
    )


def h100_opt() -> None:
    """Until runs are there to be fitted: the roofline, and the excess that one measured run implies."""
    path = ROOT / "benchmarks" / "results" / "opt13b_16_h100.json"
    found = json.loads(path.read_text("utf-8"))
    roofline = opt_roofline(found["rates"]["bandwidth"], found["rates"]["flops"])
    work = Work.draw(found["requests"], ExponentialTruncated(128, 1_536), prompt_tokens=512, seed=found["seed"])
    assert int(work.output_tokens.sum()) == found["output_tokens"]
    served = cbviz.forecast(work, found["policy"], cost=roofline, slots=found["slots"], lag=found["lag"], block_size=32)
    assert served.iterations == found["iterations"]
    excess = (found["seconds"] - served.seconds) / served.iterations
    note = (
        f"Derived, not fitted: the roofline at the measured {found['rates']['bandwidth'] / 1e12:.2f} TB/s and "
        f"{found['rates']['flops'] / 1e12:.0f} TFLOP/s, and {excess * 1e3:.2f} ms an iteration, with which one "
        f"measured run comes out ({found['requests']} requests on {found['slots']} slots in {found['seconds']:.2f} s)."
    )
    origin = Origin("derived", found["device"], found["model"], found["dtype"], found["versions"], notes=(note,))
    name = "h100-opt-13b-derived"
    write(replace(roofline, iteration=roofline.iteration + excess, name=name, origin=origin))


def benchmark() -> Work:
    """The benchmark's 1,000 requests at a cap of 1,536."""
    return Work.draw(1_000, ExponentialTruncated(128, 1_536), prompt_tokens=512, seed=0)


def published(cost: CostModel) -> tuple[float, int]:
    """Seconds and iterations of its static run."""
    work = benchmark()
    policy = cbviz.Static(run_to=int(work.output_tokens.max()))
    found = cbviz.forecast(work, policy, cost=cost, slots=4)
    return found.seconds, found.iterations


def published_tokens() -> int:
    """Tokens that it counts: of prompts and outputs."""
    work = benchmark()
    return int(work.prompt_tokens.sum() + work.output_tokens.sum())


def cpu(threads: int) -> None:
    """Record runs here, and fit to them."""
    import torch

    torch.set_num_threads(threads)
    planned: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("cpu-2-cores-tiny", "tiny", {"requests": 96, "prompt_tokens": 64, "max_new_tokens": 128}),
        (
            "cpu-2-cores-smollm2-135m",
            "random:smollm2-135m",
            {"requests": 24, "prompt_tokens": 64, "max_new_tokens": 64},
        ),
    )
    for name, model, work in planned:
        traces = []
        for policy, slots in (("continuous", 8), ("static", 4), ("sarathi", 8), ("continuous", 2)):
            found = cbviz.bench(
                model, policy, workload="exponential", slots=slots, device="cpu", repeats=1, profile=False, **work
            )
            traces.append(found.trace)
            print(f"{model}, {policy}, {slots} slots: {found.iterations} iterations, {found.seconds:.2f} s", flush=True)
        fitted = cbviz.calibrate(traces, name=name)
        assert fitted.origin is not None
        note = (
            f"{threads} threads of a {platform.machine()} CPU with {os.cpu_count()} cores; load average "
            f"{os.getloadavg()[0]:.1f} when it was fitted. Times on other CPUs differ by a factor."
        )
        write(replace(fitted, origin=replace(fitted.origin, notes=(*fitted.origin.notes, note))))


def write(cost: CostModel) -> None:
    """Save a calibration under its name, and say what it is."""
    path = save_cost(cost, FOLDER / f"{cost.name}.json")
    assert load_cost(path) == cost
    origin = cost.origin
    print(f"{cost.name}: {', '.join(f'{value:.3g}' for value in cost.coefficients)}", end="; ")
    print(origin.held_out if origin and origin.held_out else "nothing held out", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Make what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="+", choices=("h100", "h200", "a100", "h100-opt", "cpu"))
    parser.add_argument("--threads", type=int, default=2, help="of the CPU runs (2)")
    options = parser.parse_args(argv)
    for which in options.which:
        if which == "cpu":
            cpu(options.threads)
        else:
            made: dict[str, Callable[[], None]] = {
                "h100": partial(measured, "h100", RUNS),
                "h200": partial(measured, "h200", RUNS / "h200"),
                "a100": a100,
                "h100-opt": h100_opt,
            }
            made[which]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
