"""The 23× taken apart on a GPU: every step in one process on one model, the most telling first, each kept as it ends.

    python benchmarks/decompose_runs.py --forecasts                  # what the simulator says; needs no GPU
    python benchmarks/decompose_runs.py --out FILE                   # all steps, at most --seconds
    python benchmarks/decompose_runs.py --out FILE --only paged/fused,tgi/fused
    python benchmarks/decompose_runs.py --out FILE --model tiny --benchmark small --device cpu --limit 0.2

FILE is written after every step; the same command again continues it. A step whose whole run takes longer than --limit
is timed on its first batches (at least three), and its other iterations are counted: see
`cbviz/run/decompose_measure.py`. Eager steps come first, then the fused ones, whose graphs are captured once, then what
is left. A step begins only while time is left; one that has begun ends in its own time, so leave some.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from result_file import write

from cbviz.models import load
from cbviz.models.device import device_name
from cbviz.run.decompose import decompose
from cbviz.run.decompose_file import load_decomposition
from cbviz.run.decompose_plan import BENCHMARKS, DecomposeStep
from cbviz.run.decompose_result import Decomposition
from cbviz.run.progress import SilentProgress

FORECASTS = Path(__file__).parent / "results" / "decompose" / "forecasts.json"
COSTS = ("h200-opt-13b", "h100-opt-13b-derived", "a100-40gb-opt-13b")
EAGER_CORE = ("iteration_level", "paged", "batch_longest", "dataset_longest")
FUSED = ("paged", "batch_longest", "iteration_level", "paged_double", "dataset_longest", "tgi", "lengths_declared")
EAGER_REST = ("tgi", "lengths_declared", "paged_double", "request_level")
PLAN = (
    *(f"{scheme}/eager" for scheme in EAGER_CORE),
    *(f"{scheme}/fused" for scheme in FUSED),
    "request_level/fused",
    *(f"{scheme}/eager" for scheme in EAGER_REST),
    "batch_longest/eager/naive",
    "paged_double/graphs",
    "dataset_longest/graphs",
)
"""Most telling first. The first eight steps hold the 2 × 2, padding, refilling and paging."""
BOTH_WAYS = "paged_double/fused"
"""The quickest step, which is timed whole as well, to check what its first part alone says."""


def forecasts() -> list[dict[str, Any]]:
    """What the simulator says of every cap, on every device."""
    found = []
    for cost in COSTS:
        for cap in BENCHMARKS["article"][0]:
            said = decompose(simulate=cost, cap=cap).to_json()
            del said["date"], said["versions"]  # the file has them once
            found.append({**said, "date": "", "versions": {}})
            print(f"{cost}, cap {cap:,}: {said['ranges']}", flush=True)
    return found


def forecast_for(cap: int, requests: int, cost: str, path: Path) -> Decomposition | None:
    """The forecast of a run, if there is one.

    Parameters
    ----------
    cap, requests
        Of the run.
    cost
        The calibration that said it.
    path
        What `--forecasts` wrote.

    Returns
    -------
    Decomposition or None
        To be shown beside the run.
    """
    if not path.is_file():
        return None
    for said in json.loads(path.read_text("utf-8"))["forecasts"]:
        made = said["settings"]
        if made["cost"] == cost and (made["benchmark"]["cap"], made["benchmark"]["requests"]) == (cap, requests):
            return load_decomposition(said)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasts", action="store_true", help="write what the simulator says, and run nothing")
    parser.add_argument("--json", type=Path, default=FORECASTS, metavar="FILE", help="the file of the forecasts")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the result (.json), continued if it exists")
    parser.add_argument("--model", default="random:opt-13b")
    parser.add_argument("--benchmark", default="article", choices=BENCHMARKS)
    parser.add_argument("--cap", type=int, help="the longest output (the benchmark's highest)")
    parser.add_argument("--requests", type=int, help="how many (the benchmark's own)")
    parser.add_argument("--only", help="these steps, with commas between them, in this order (all)")
    parser.add_argument("--limit", type=float, default=40.0, help="seconds of a step before it is counted (40)")
    parser.add_argument("--seconds", type=float, default=1_300.0, help="no step begins after so many (1,300)")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    options = parser.parse_args(argv)
    if options.forecasts:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write(options.json, __file__, argv, forecasts=forecasts())
        return 0
    if options.out is None:
        parser.error("--out or --forecasts is needed")
    began = monotonic()
    plan = PLAN if options.only is None else tuple(options.only.split(","))
    dtype = options.dtype or ("float16" if options.model.endswith("opt-13b") and options.device != "cpu" else None)
    loaded = load(options.model, device=options.device, dtype=dtype, progress=False)
    print(f"{loaded.name} is loaded after {monotonic() - began:.0f} s", flush=True)
    if options.only is None and loaded.device.type == "cpu":
        plan = tuple(key for key in plan if DecomposeStep.of(key).kernels == "eager")

    def goes_on(key: str) -> bool:
        left = float(options.seconds) - (monotonic() - began)
        print(f"{left:6.0f} s left: {key}" + (" is left for another time" if left <= 0 else ""), flush=True)
        return left > 0

    asked: dict[str, Any] = {
        "benchmark": options.benchmark,
        "cap": options.cap,
        "requests": options.requests,
        "limit": options.limit,
        "only": plan,
        "both_ways": BOTH_WAYS if BOTH_WAYS in plan else None,
        "goes_on": goes_on,
        "save": options.out,
        "resume": options.out.exists(),
        "progress": SilentProgress(),
    }
    if options.benchmark == "article":
        made = BENCHMARKS["article"][1]
        cap, requests = options.cap or made.cap, options.requests or made.requests
        card = next((cost for cost in COSTS if cost.split("-")[0] in device_name(loaded.device).lower()), COSTS[0])
        asked["forecast"] = forecast_for(cap, requests, card, options.json)
    found = decompose(loaded, **asked)
    for order in found.chains:
        print(found.table(order), "", sep="\n")
    print(*found.sentences(), sep="\n")
    for result in found.results.values():
        print(f"{result.step}: {result.seconds:,.1f} s ({result.low:,.1f}–{result.high:,.1f}), {result.method}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
