"""One sweep computed three ways: in this process, on all cores, and on a local Ray. The tables must be the same bytes.

    python benchmarks/sweep.py --requests 100000 --output-dir DIR --json FILE

Five policies, eight rates, three laws of lengths, three seeds. Every run is kept in the folder as it ends: the same
command continues what was stopped, and its seconds are those of all calls. Ray is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_file import write

from cbviz.run.progress import progress_for
from cbviz.run.sweep import sweep
from cbviz.run.sweep_table import PLAN

POLICIES = ("static", "continuous", "orca", "vllm_v1", "sarathi")
RATES = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
LAWS = ("exponential", "uniform", "fixed")
WAYS: dict[str, dict[str, Any]] = {
    "one-process": {},
    "all-cores": {"workers": None},
    "local-ray": {"address": "local", "workers": None},
}
CALLS = "calls.json"
"""What each call for a way took and did; beside its table."""


def computed(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Compute what is left of one way; returns its facts, with the seconds of all calls that worked on it."""
    folder = None if options.output_dir is None else options.output_dir / way
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    began = _cpu()
    table = sweep(
        {"policy": POLICIES, "rate": RATES[: options.rates], "lengths": LAWS},
        num_runs=options.seeds,
        requests=options.requests,
        output_dir=folder,
        resume=folder is not None and (folder / PLAN).exists(),
        progress=progress_for(False),
        **WAYS[way],
    )
    calls: list[dict[str, Any]] = [
        {"seconds": table.seconds, "cpu_seconds": _cpu() - began, "runs_then": len(table), "load_before": busy}
    ]
    if folder is not None:
        kept = folder / CALLS
        calls = [*(json.loads(kept.read_text("utf-8")) if kept.exists() else []), *calls]
        kept.write_text(json.dumps(calls, indent=1) + "\n", "utf-8")
    return {
        "seconds": sum(call["seconds"] for call in calls),
        # The workers of Ray are no processes of this one.
        "cpu_seconds": None if way == "local-ray" else sum(call["cpu_seconds"] for call in calls),
        "calls": len(calls),
        # Programs that wanted a core in the minute before, the way before this one among them.
        "load_before": calls[0].get("load_before"),
        "sha256": hashlib.sha256(table.to_csv().encode()).hexdigest(),
        "runs": len(table),
        "failed": len(table.failed),
        "stopped": table.stopped,
        "policies_on_the_plain_loop": sorted({row["policy"] for row in table.rows if row.get("how") == "loop"}),
    }


def _cpu() -> float:
    """CPU seconds of this process and of those that it waited for."""
    return sum(os.times()[:4])


def main(argv: Sequence[str] | None = None) -> int:
    """Compute, compare, print the seconds of each way. 1 if the tables differ or are not complete."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000, help="of each run (100,000)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each combination (3)")
    parser.add_argument("--rates", type=int, default=len(RATES), help="how many of the eight rates")
    parser.add_argument("--ways", default=",".join(WAYS), help="which of the ways, separated by commas (all)")
    parser.add_argument("--output-dir", type=Path, help="where runs are kept, so that a stopped call can continue")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu", help="not used; every benchmark takes it")
    options = parser.parse_args(argv)
    ways = options.ways.split(",")
    if wrong := sorted(set(ways) - set(WAYS)):
        parser.error(f"there is no way {wrong[0]!r}; there are {', '.join(WAYS)}")
    found: dict[str, dict[str, Any]] = {}
    for way in ways:
        if "address" in WAYS[way] and importlib.util.find_spec("ray") is None:
            print("local-ray is left out: pip install cbviz[ray]")
            continue
        one = found[way] = computed(way, options)
        print(
            f"{way:12} {one['runs']:5,} runs of {options.requests:,} requests in {one['seconds']:8.1f} s  "
            f"{one['sha256'][:16]}",
            flush=True,
        )
        if one["stopped"]:
            print("stopped; the same command continues" if options.output_dir else "stopped")
            return 1
    same = len({one["sha256"] for one in found.values()}) == 1 and not any(one["failed"] for one in found.values())
    print("the tables are the same" if same else "the tables differ, or runs failed")
    if options.json is not None:
        write(options.json, __file__, argv, cores=os.cpu_count(), requests=options.requests, same=same, ways=found)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
