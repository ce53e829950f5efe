"""Forecasts of real runs, written down before the runs are made, and what the runs then said.

    python benchmarks/fidelity.py forecast          # writes benchmarks/results/fidelity/h200/forecasts.json: commit it
    python benchmarks/fidelity_runs.py --set held-out --out benchmarks/results/fidelity/h200
    python benchmarks/fidelity.py score             # writes scores.json and prints the table
    python benchmarks/fidelity.py forecast --card h100 --folder benchmarks/results/fidelity    # for an H100

The runs differ from those that the calibrations were fitted to: other seeds and numbers of slots, arrivals at a rate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from fidelity_runs import BLOCK_SIZE, SETS, Planned

import cbviz
from cbviz.measure import latencies
from cbviz.simulator import Work, load_cost, shipped
from cbviz.workload import AllAtOnce, ExponentialClipped, Poisson

FOLDER = Path(__file__).parent / "results" / "fidelity" / "h200"
FORECASTS, SCORES = "forecasts.json", "scores.json"
GOALS = {"tokens_per_second": 0.03, "tpot": 0.05, "e2e": 0.05, "ttft": 0.15}
SPEEDUP_GOAL, RANKING_GAP = 0.05, 0.10


def calibration(card: str, run: Planned) -> str:
    """The name of the calibration of a run's model on a card."""
    return f"{card}-{run.model.removeprefix('random:')}"


def forecast_of(run: Planned, card: str) -> dict[str, Any]:
    """What the simulator says of a run on a card, from its plan alone."""
    work = Work.draw(
        run.requests,
        ExponentialClipped(128, run.longest),
        Poisson(run.rate) if run.rate else AllAtOnce(),
        prompt_tokens=run.prompt,
        seed=run.seed,
    )
    found = cbviz.forecast(
        work,
        run.policy,
        cost=calibration(card, run),
        slots=run.slots,
        block_size=BLOCK_SIZE,
        kv_blocks=None if run.kv_tokens is None else run.kv_tokens // BLOCK_SIZE,
        lag=1,
    )
    means = {name: float(np.nanmean(getattr(found, name))) for name in ("ttft", "tpot", "e2e")}
    return {
        "calibration": found.cost,
        "iterations": found.iterations,
        "seconds": found.seconds,
        "tokens_per_second": found.tokens_per_second,
        "preemptions": int(found.preemptions.sum()),
        **means,
        "warnings": list(found.warnings),
    }


def measured_of(path: Path) -> dict[str, Any]:
    """The same figures of the run that was made."""
    trace = cbviz.load(path)
    found = latencies(trace)
    return {
        "trace": trace.digest,
        "iterations": len(trace.iterations),
        "seconds": trace.seconds,
        "tokens_per_second": trace.tokens_per_second,
        "preemptions": int(trace.requests.preemptions.sum()),
        "ttft": float(np.nanmean(found.ttft)),
        "tpot": float(np.nanmean(found.tpot)),
        "e2e": float(np.nanmean(found.e2el)),
    }


def forecast(folder: Path, card: str) -> int:
    """Write a forecast of every planned run whose model has a calibration."""
    found: dict[str, Any] = {}
    for run in SETS["held-out"]:
        if calibration(card, run) not in shipped():
            print(f"{run.name}: no calibration {calibration(card, run)}")
            continue
        found[run.name] = forecast_of(run, card)
        print(f"{run.name}: {found[run.name]['seconds']:.3f} s, {found[run.name]['tokens_per_second']:,.0f} tokens/s")
    costs = sorted({entry["calibration"] for entry in found.values()})
    coefficients = {name: load_cost(name).coefficients for name in costs}
    content = {"coefficients": coefficients, "runs": found}
    (folder / FORECASTS).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return 0


def score(folder: Path) -> int:
    """Compare every run that was made with its forecast; misses stay in the table."""
    forecasts = json.loads((folder / FORECASTS).read_text("utf-8"))["runs"]
    rows: dict[str, Any] = {}
    print("| run | tokens/s | TPOT | E2E | TTFT | iterations | missed |\n|---|---|---|---|---|---|---|")
    for name, entry in forecasts.items():
        path = folder / f"{name}.cbviz"
        if not path.exists():
            continue
        real = measured_of(path)
        error = {key: entry[key] / real[key] - 1 for key in GOALS}
        missed = [key for key, goal in GOALS.items() if abs(error[key]) > goal]
        rows[name] = {"forecast": entry, "measured": real, "error": error, "missed": missed}
        cells = " | ".join(f"{error[key]:+.1%}" for key in ("tokens_per_second", "tpot", "e2e", "ttft"))
        print(f"| {name} | {cells} | {entry['iterations']} / {real['iterations']} | {', '.join(missed) or '–'} |")
    print("\n| pair | forecast | measured | error |\n|---|---|---|---|")
    pairs = {}
    for a, b in combinations(rows, 2):
        if not same_work(a, b):
            continue
        a, b = sorted((a, b), key=lambda name: -rows[name]["measured"]["seconds"])  # so that it is a speed-up
        said, was = (rows[a][kind]["seconds"] / rows[b][kind]["seconds"] for kind in ("forecast", "measured"))
        inverted = abs(was - 1) > RANKING_GAP and (said > 1) != (was > 1)
        pairs[f"{a} / {b}"] = {"forecast": said, "measured": was, "error": said / was - 1, "inverted": inverted}
        print(f"| {a} ÷ {b} | {said:.3f} | {was:.3f} | {said / was - 1:+.1%}{' inverted' * inverted} |")
    (folder / SCORES).write_text(json.dumps({"runs": rows, "pairs": pairs}, indent=2) + "\n", "utf-8")
    return 0


def same_work(a: str, b: str) -> bool:
    """Whether two runs differ in their policy alone."""
    plans = {run.name: run for run in SETS["held-out"]}
    key = [(p.model, p.slots, p.requests, p.prompt, p.longest, p.seed, p.rate) for p in (plans[a], plans[b])]
    return key[0] == key[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Forecast or score; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("forecast", "score"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--card", default="h200", choices=("h100", "h200"), help="whose calibrations forecast")
    options = parser.parse_args(argv)
    return forecast(options.folder, options.card) if options.what == "forecast" else score(options.folder)


if __name__ == "__main__":
    sys.exit(main())
