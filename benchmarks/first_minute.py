"""How long a run takes to begin, phase by phase, at the first start and when everything that can be kept is there.

    python benchmarks/first_minute.py --json FILE
    python benchmarks/first_minute.py --compiled

Every start is a process of its own over one cache folder, which is new: what cbviz, Inductor and Triton keep is there
at the second start, and at the first one nothing is. A race captures its passes as they are; `cbviz bench` and replicas
also compile them (`--compiled`). Seconds by the clock, so the machine should have nothing else to do; the processes
start one after another. The files of Python's packages are in the system's own cache after the first start, or before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from cbviz.models.compiler_cache import VARIABLES

PHASES = {
    "packages": "Python, torch, transformers and cbviz are imported",
    "device": "what the device can do: a driver, and one Triton kernel that is compiled or found",
    "model": "weights are made or loaded",
    "buffers": "KV cache, tables, weights side by side",
    "first shape": "of the largest prompts; all that shapes share is compiled or found",
    "prompts": "the other shapes with prompts",
    "decoding": "shapes of rows that decode, up to those of one row",
    "single row": "its code is compiled or found",
    "iteration": "the first one of the run",
}
"""The phases of a start, in their order, and what happens in each."""


def start(options: argparse.Namespace, began: float) -> dict[str, Any]:
    """One start in this process; `began` is when the process was asked for. Returns the seconds of each phase."""
    import torch

    from cbviz.config import EngineConfig
    from cbviz.cuda.graph_executor import GraphExecutor
    from cbviz.cuda.graph_replay import row_sizes
    from cbviz.models import load
    from cbviz.models.device import check_device, pick_device
    from cbviz.policies import Continuous
    from cbviz.run.build import build_executor
    from cbviz.run.capacity import choose_kv_blocks
    from cbviz.run.how import choose_backend
    from cbviz.run.timed_run import Setting
    from cbviz.workload.lengths import Fixed
    from cbviz.workload.synthetic import synthetic

    marks = [("packages", perf_counter())]

    def reached(phase: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        marks.append((phase, perf_counter()))

    check_device(pick_device(options.device))
    reached("device")
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    reached("model")
    backend = choose_backend(loaded, options.backend)
    work = synthetic(
        options.slots, Fixed(options.output_tokens), prompt_tokens=options.prompt_tokens, vocabulary=loaded.vocabulary
    )
    cuda = loaded.device.type == "cuda"
    size = 32 if cuda else 16
    blocks = choose_kv_blocks(loaded, work, slots=options.slots, block_size=size)
    graphs = backend == "graphs"
    config = EngineConfig(
        options.slots, blocks, size, lag=int(cuda), backend=backend, compiled=options.compiled and graphs
    )
    shapes, rows = 0, len(row_sizes(options.slots))

    def captured(done: int, total: int) -> None:
        """Called before every shape, and after the last: prompts come first, then rows that decode, one row last."""
        nonlocal shapes
        shapes = total
        for number, phase in ((0, "buffers"), (1, "first shape"), (total - rows, "prompts"), (total - 1, "decoding")):
            if done == number:
                reached(phase)
        if done == total:
            reached("single row")

    executor = build_executor(loaded, config, work, captured)
    if not isinstance(executor, GraphExecutor):
        reached("buffers")
    engine = Setting(loaded, Continuous(), work, config).engine(executor)
    engine.step()
    reached("iteration")
    seconds: dict[str, float] = {}
    for phase, at in marks:
        seconds[phase] = seconds.get(phase, 0.0) + at - began
        began = at
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "seconds": seconds,
        "shapes": shapes,
    }


def started(argv: Sequence[str], cache: Path) -> dict[str, Any]:
    """One start in a process of its own over a cache folder. SystemExit with its last lines if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["CBVIZ_CACHE"] = str(cache)
    command = [sys.executable, __file__, *argv, "--began", str(perf_counter())]  # one clock for all processes of a boot
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"a start failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["said"] = [line for line in done.stderr.splitlines() if "Warning" in line]
    return found


def table(starts: list[dict[str, Any]]) -> str:
    """Phases down, starts across."""
    names = ["first", "second", "third", *(f"{n}th" for n in range(4, len(starts) + 1))][: len(starts)]
    lines = [f"{'seconds':<12}" + "".join(f"{name:>9}" for name in names)]
    for phase, what in PHASES.items():
        if any(phase in one["seconds"] for one in starts):
            figures = "".join(f"{one['seconds'].get(phase, 0.0):9.2f}" for one in starts)
            lines.append(f"{phase:<12}{figures}  {what}")
    totals = "".join(f"{sum(one['seconds'].values()):9.2f}" for one in starts)
    shapes = starts[0]["shapes"]
    return "\n".join([*lines, f"{'in all':<12}{totals}  {shapes} shapes"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llama-3.1-8b")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=512)
    parser.add_argument("--backend", help="sdpa or graphs; default: what a race takes")
    parser.add_argument("--compiled", action="store_true", help="with torch.compile, as cbviz bench")
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="the cache folder; default: a new one")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    given = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(given)
    if options.began is not None:
        print(json.dumps(start(options, options.began)), flush=True)
        return 0
    if options.starts < 1:
        parser.error("--starts must be at least 1")
    with tempfile.TemporaryDirectory(prefix="cbviz-first-minute-") as new:
        starts = []
        for number in range(options.starts):
            starts.append(started(given, options.cache or Path(new)))
            print(f"start {number + 1}: {sum(starts[-1]['seconds'].values()):.1f} s", file=sys.stderr, flush=True)
    print(table(starts))
    for sentence in dict.fromkeys(line for one in starts for line in one["said"]):
        print(sentence)
    if options.json:
        from result_file import write

        write(options.json, __file__, argv, device=starts[0]["device"], starts=starts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
