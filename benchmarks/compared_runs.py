"""The recorded comparison that ships: the same work on several engines, for one board.

    python benchmarks/compared_runs.py                     # cbviz and transformers on this CPU
    python benchmarks/compared_runs.py --vllm TRACE        # adds a vLLM run of the same work (see vllm_on_board.py)

The built-in model ends its answers itself, so the engines must agree on every token; nothing is written if they don't.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cbviz
from cbviz.adapters import transformers_cb
from cbviz.models import load
from cbviz.trace import Trace
from cbviz.workload.tasks import task_workload

FOLDER = Path(cbviz.__file__).parent / "trace" / "compared_runs"
NAME, REQUESTS, SLOTS = "engines-tiny", 32, 8


def record(requests: int, slots: int) -> dict[str, Trace]:
    """Both engines on the same tasks.

    Parameters
    ----------
    requests, slots
        How many.

    Returns
    -------
    dict of str to Trace
        Engine → its run.
    """
    loaded = load("tiny", device="cpu", dtype="float32", progress=False)
    work = task_workload(loaded.encode, requests, 0)
    ours = cbviz.bench(loaded, "continuous", workload=work, slots=slots, repeats=3, profile=False).trace
    transformers_cb.run(work, loaded, slots=slots)  # the first run loads what the second one uses
    return {"cbviz": ours, "transformers": transformers_cb.run(work, loaded, slots=slots)}


def main(argv: Sequence[str] | None = None) -> int:
    """Record, compare and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, metavar="TRACE", help="a vLLM run of the same work")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--slots", type=int, default=SLOTS)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(argv)
    traces = record(options.requests, options.slots)
    if options.vllm is not None:
        traces["vllm"] = cbviz.load(options.vllm)
    answers = {engine: trace.requests.tokens for engine, trace in traces.items()}
    for engine, tokens in answers.items():
        if tokens != answers["cbviz"]:
            print(f"{engine} gave other tokens than cbviz; nothing is written", file=sys.stderr)
            return 1
    options.out.mkdir(parents=True, exist_ok=True)
    for engine, trace in traces.items():
        path = trace.save(options.out / f"{NAME}.{engine}.cbviz")
        print(f"{path.name}: {len(trace.iterations)} iterations, {trace.seconds:.2f} s, {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
