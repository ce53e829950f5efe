"""KV memory under three ways to reserve and under paging, beside what the PagedAttention paper reports. No GPU needed.

    python benchmarks/kv_schemes.py --json FILE --svg FILE

Two workloads: the article's, and one with lengths like those on which the paper measured. Everything is counted from
schedules, so the numbers are the same on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from result_file import write

from cbviz.experiments.kv_schemes import KV_TOKENS, REQUESTS, article_workload, kv_schemes, paper_workload

WORKLOADS = {"the article's": article_workload, "lengths like ShareGPT's": paper_workload}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--kv-tokens", type=int, default=KV_TOKENS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the first workload")
    options = parser.parse_args(argv)
    found = {}
    for name, drawn in WORKLOADS.items():
        work = drawn(options.requests, seed=options.seed)
        result = kv_schemes(work, kv_tokens=options.kv_tokens)
        print(f"{name}: {work.name}\n{result}\n", flush=True)
        if options.svg and not found:
            result.chart().to_svg(options.svg)
        found[name] = {"workload": work.name, "requests": len(work), "schemes": result.to_json()}
    if options.json:
        write(options.json, __file__, argv, kv_tokens=options.kv_tokens, workloads=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
