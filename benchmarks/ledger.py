"""The ledger: every published factor and fidelity figure, with the forecast that was written before the run.

    python benchmarks/ledger.py            # writes benchmarks/LEDGER.md from the files in benchmarks/results
    python benchmarks/ledger.py --check    # exit code 1 if LEDGER.md says something else than the files

Nothing is typed by hand: each row is read from the result of a run, and from the forecast of the same run. `git log` of
a file of forecasts says when it was written; it is always older than the runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import latency
import numpy as np
from fidelity import GOALS

import cbviz
from cbviz.run.decompose_file import recorded_decomposition
from cbviz.run.decompose_result import Decomposition
from cbviz.run.under_load import latencies_of
from cbviz.simulator import load_cost

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"
LEDGER = ROOT / "LEDGER.md"
LATENCY = {"p50_ttft": "p50 TTFT", "p99_ttft": "p99 TTFT", "p50_tpot": "p50 TPOT", "p50_e2el": "p50 E2E"}


def number(value: float) -> str:
    """Three digits, and no more than were measured."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def off(forecast: float, measured: float, goal: float | None = None) -> str:
    """The forecast's error, in bold where it misses its goal."""
    error = f"{forecast / measured - 1:+.1%}"
    return f"**{error}**" if goal is not None and abs(forecast / measured - 1) > goal else error


def about(versions: dict[str, str]) -> str:
    """The versions that matter to a figure."""
    return ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions)


def fidelity(folder: Path) -> Iterator[str]:
    """One row a run: four figures, each with its forecast's error."""
    scores = json.loads((folder / "scores.json").read_text("utf-8"))["runs"]
    yield "| run | tokens/s | TPOT | E2E | TTFT | trace (SHA-256) | run at |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in scores.items():
        trace = cbviz.load(folder / f"{name}.cbviz")
        said, was = row["forecast"], row["measured"]
        cells = [
            f"{number(said[key])} → {number(was[key])} ({off(said[key], was[key], goal)})"
            for key, goal in GOALS.items()
        ]
        tokens, tpot, e2e, ttft = cells
        when = trace.meta.created[:16].replace("T", " ")
        yield f"| `{name}` | {tokens} | {tpot} | {e2e} | {ttft} | `{trace.digest[:12]}` | {when} |"


def attention(found: Decomposition) -> str:
    """How much longer the schedule takes with naive attention, and between which batches."""
    fused, naive = (found.results[f"batch_longest/eager{end}"] for end in ("", "/naive"))
    return (
        f"Attention naive instead of fused, one schedule, eager kernels, both in one call ("
        f"`--only batch_longest/eager/naive,batch_longest/eager`, {found.date[:16].replace('T', ' ')}, "
        "[result](../cbviz/run/decompositions/opt-13b-attention-h200.json)), no forecast: "
        f"×{naive.seconds / fused.seconds:.2f} the time (between batches {naive.low / fused.high:.2f} to "
        f"{naive.high / fused.low:.2f})."
    )


def decomposition(found: Decomposition) -> Iterator[str]:
    """One row a factor, in every order in which it was measured."""
    yield "| order | factor | forecast | measured | between batches | error |"
    yield "|---|---|---|---|---|---|"
    for order in found.chains:
        for factor in found.factors(order):
            said = None if factor.forecast is None else f"×{factor.forecast:.2f}"
            error = "–" if factor.forecast is None else off(factor.forecast, factor.ratio)
            yield (
                f"| {order.replace('_', ' ')} | {factor.before} → {factor.after} | {said or '–'} | "
                f"×{factor.ratio:.2f} | {factor.low:.2f}–{factor.high:.2f} | {error} |"
            )


@cache
def forecast_of(policy: str, rate: float, requests: int, cost: str) -> dict[str, float]:
    """What the simulator says of a run of `latency.py`, from its plan alone."""
    options = argparse.Namespace(
        mean=128, cap=512, prompt=512, seed=0, slots=64, kv_tokens=40_000, block_size=16, cost=cost
    )  # the defaults of latency.py
    found = cbviz.forecast(latency.work_of(options, requests, rate), policy, **latency.served_by(options), lag=1)
    said = latencies_of(found)
    return {key: float(np.nanpercentile(getattr(said, key[4:]), float(key[1:3]))) for key in LATENCY}


def under_load(folder: Path) -> Iterator[str]:
    """One row a run under Poisson arrivals."""
    yield "| policy | requests/s | requests | " + " | ".join(LATENCY.values()) + " | run at |"
    yield "|---|---|---|" + "---|" * (len(LATENCY) + 1)
    for path in sorted(folder.glob("*.json")):
        whole = json.loads(path.read_text("utf-8"))
        run = whole["run"]
        said = forecast_of(run["policy"], run["rate"], run["requests"], run["cost"])
        cells = [f"{number(said[key])} → {number(run[key])} s ({off(said[key], run[key])})" for key in LATENCY]
        when = whole["date"][:16].replace("T", " ")
        yield f"| {run['policy']} | {run['rate']:.1f} | {run['requests']} | {' | '.join(cells)} | {when} |"


def runs() -> Iterator[str]:
    """One row a result file: what was measured without a forecast."""
    yield "| result | device | command | versions | date |"
    yield "|---|---|---|---|---|"
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        if "command" not in found:
            continue
        device = found.get("device", "CPU" if "+cpu" in found.get("versions", {}).get("torch", "") else "see the file")
        versions = about(found.get("versions", {}))
        link = f"[{path.stem}](results/{path.name})"
        yield f"| {link} | {device} | `{found['command']}` | {versions} | {found['date'][:10]} |"


def page() -> str:
    """The whole page."""
    folder = RESULTS / "fidelity" / "h200"
    measured = recorded_decomposition()
    costs = sorted(
        {row["forecast"]["calibration"] for row in json.loads((folder / "scores.json").read_text())["runs"].values()}
    )
    fitted = "; ".join(f"`{name}` to {len(load_cost(name).origin.traces)} traces" for name in costs)  # type: ignore[union-attr]
    parts: list[Any] = [
        "# Ledger",
        "",
        "Forecast → measured, and the forecast's error. **Bold** errors miss their goal; misses stay. Written by "
        "`python benchmarks/ledger.py`; a test compares it with the files.",
        "",
        "## The simulator against runs that it was not fitted to, on an H200",
        "",
        "Forecasts: [forecasts.json](results/fidelity/h200/forecasts.json), from calibrations fitted to other runs of "
        f"the same day ({fitted}). Runs: `python benchmarks/fidelity_runs.py --set held-out --repeats 2 --out "
        "benchmarks/results/fidelity/h200`, then `python benchmarks/fidelity.py score`. Latencies are means in "
        "seconds. Goals: 3 % for tokens/s, 5 % for TPOT and E2E, 15 % for TTFT.",
        "",
        *fidelity(folder),
        "",
        "## Where 23× comes from, on an H200",
        "",
        "Forecasts: [forecasts.json](results/decompose/forecasts.json). Run: `python benchmarks/decompose_runs.py "
        f"--out FILE --limit 9`, {about(measured.versions)}, {measured.date[:16].replace('T', ' ')} "
        "([result](../cbviz/run/decompositions/opt-13b-h200.json)). The host launches eager kernels, and its speed "
        "drifts: hence the spreads of those steps.",
        "",
        *decomposition(measured),
        "",
        attention(recorded_decomposition("opt-13b-attention-h200")),
        "",
        "## Latency under load, on an H200",
        "",
        "OPT-13B's shape, Poisson arrivals, 64 slots, 40,000 tokens of KV memory; forecast from the same calibration. "
        "Run: `python benchmarks/latency.py --run --out FOLDER --dtype float16`.",
        "",
        *under_load(RESULTS / "latency_h200"),
        "",
        "## Measured without a forecast",
        "",
        *runs(),
    ]
    return "\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the ledger, or compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if the ledger is not what the files say"
    )
    options = parser.parse_args(argv)
    made = page()
    if options.check:
        same = LEDGER.is_file() and LEDGER.read_text("utf-8") == made
        print("The ledger is what the files say." if same else "The ledger is old: run `python benchmarks/ledger.py`.")
        return 0 if same else 1
    LEDGER.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
