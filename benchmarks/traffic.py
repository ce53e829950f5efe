"""What refilling slots can win on public traffic: S(n) of production traces. No GPU needed.

    python benchmarks/traffic.py TRACE… --json FILE

S(n) = E[longest of n outputs] / E[output] is the most that continuous batching can win over static batches of n at a
constant iteration cost (`cbviz.measure.speedup_empirical`, with independent draws). `cbviz.workload.fetch_trace` gets
the traces from their publishers.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from result_file import write

from cbviz.measure import speedup_empirical
from cbviz.workload import Traffic, read_traffic

SLOTS = (8, 32, 128)


def facts(traffic: Traffic) -> dict[str, Any]:
    """Lengths, arrivals and S(n) of one trace."""
    inputs, outputs = np.array(traffic.input_tokens), np.array(traffic.output_tokens)
    gaps = np.array([later - earlier for earlier, later in pairwise(traffic.arrival)])
    return {
        "requests": len(traffic),
        "left_out": traffic.left_out,
        "input": [float(inputs.mean()), *(float(np.percentile(inputs, p)) for p in (50, 99))],
        "output": [float(outputs.mean()), *(float(np.percentile(outputs, p)) for p in (50, 99))],
        "output_cv": float(outputs.std() / outputs.mean()),
        "rate": traffic.rate,
        "gap_cv": float(gaps.std() / gaps.mean()),
        "speedup": {str(n): float(speedup_empirical(n, traffic.output_tokens)) for n in SLOTS},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu", help="not used; every benchmark takes it")
    options = parser.parse_args(argv)
    found: dict[str, Any] = {}
    print(f"{'trace':34} {'requests':>8} {'output mean':>11} {'cv':>5} " + " ".join(f"{f'S({n})':>7}" for n in SLOTS))
    for path in options.traces:
        one = facts(read_traffic(path))
        found[path.name] = {**one, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        speedups = " ".join(f"{one['speedup'][str(n)]:7.2f}" for n in SLOTS)
        mean, cv = one["output"][0], one["output_cv"]
        print(f"{path.name:34} {one['requests']:8,} {mean:11.1f} {cv:5.2f} {speedups}")
    if options.json is not None:
        write(options.json, __file__, argv, traces=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
