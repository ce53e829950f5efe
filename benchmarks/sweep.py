"""One sweep computed three ways: in this process, on all cores, and on a local Ray. The tables must be the same bytes.

    python benchmarks/sweep.py --requests 100000 --json FILE

Five policies, eight rates, three laws of lengths, three seeds. Ray is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_file import write

from cbviz.run.sweep import sweep

POLICIES = ("static", "continuous", "orca", "vllm_v1", "sarathi")
RATES = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
LAWS = ("exponential", "uniform", "fixed")


def main(argv: Sequence[str] | None = None) -> int:
    """Compute, compare, print the seconds of each way. 1 if the tables differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000, help="of each run (100,000)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each combination (3)")
    parser.add_argument("--rates", type=int, default=len(RATES), help="how many of the eight rates")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu", help="not used; every benchmark takes it")
    options = parser.parse_args(argv)
    grid = {"policy": POLICIES, "rate": RATES[: options.rates], "lengths": LAWS}
    ways: dict[str, dict[str, Any]] = {"one process": {}, "all cores": {"workers": None}}
    if importlib.util.find_spec("ray") is not None:
        ways["local Ray"] = {"address": "local", "workers": None}
    found: dict[str, Any] = {}
    for way, how in ways.items():
        table = sweep(grid, num_runs=options.seeds, requests=options.requests, **how)
        digest = hashlib.sha256(table.to_csv().encode()).hexdigest()
        loops = sorted({row["policy"] for row in table.rows if row.get("how") == "loop"})
        found[way] = {
            "seconds": table.seconds,
            "sha256": digest,
            "runs": len(table),
            "failed": len(table.failed),
            "policies_on_the_plain_loop": loops,
        }
        print(
            f"{way:12} {len(table):5,} runs of {options.requests:,} requests in {table.seconds:8.1f} s  {digest[:16]}"
        )
    same = len({one["sha256"] for one in found.values()}) == 1 and not any(one["failed"] for one in found.values())
    print("the tables are the same" if same else "the tables differ, or runs failed")
    if options.json is not None:
        write(options.json, __file__, argv, cores=os.cpu_count(), requests=options.requests, same=same, ways=found)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
