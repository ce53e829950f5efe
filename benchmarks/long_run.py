"""Ten thousand requests in one run: does memory grow, do iterations become slower?

    python benchmarks/long_run.py --json FILE

The run is cut into ten parts with equally many iterations. For each: the median time of an iteration in which every
slot decodes and no request is admitted, by the wall clock and by the engine's clock, and the memory of the process and
the device at its end. The run is not recorded, because a trace grows with its run by design. Without one, only the
outputs grow by design: 4 bytes per token.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from result_file import write

from cbviz.config import EngineConfig
from cbviz.models import load
from cbviz.models.device import device_name
from cbviz.policies import Continuous
from cbviz.run.bench_work import named_workload
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.progress import SilentProgress
from cbviz.run.timed_run import Setting

PARTS = 10


def resident() -> int:
    """Bytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    loaded = load(options.model, device=options.device, progress=False)
    cuda = loaded.device.type == "cuda"
    work = named_workload(
        "exponential",
        loaded,
        requests=options.requests,
        prompt_tokens=options.prompt_tokens,
        max_new_tokens=options.max_new_tokens,
    )
    block_size = 32 if cuda else 16
    blocks = choose_kv_blocks(loaded, work, slots=options.slots, block_size=block_size)
    config = EngineConfig(
        options.slots, blocks, block_size, lag=int(cuda), backend="graphs" if cuda else "sdpa", compiled=cuda
    )
    setting = Setting(loaded, Continuous(), work, config)
    executor = setting.executor(SilentProgress())
    setting.warm_up(executor)
    gc.collect()
    engine = setting.engine(executor)
    # (wall seconds, engine seconds, whether every slot decoded) of every iteration; memory at intervals.
    times: list[tuple[float, float, bool]] = []
    memory: list[tuple[int, int, int, int]] = []
    tokens = 0
    began = last = perf_counter()
    while (event := engine.step()) is not None:
        now = perf_counter()
        times.append((now - last, event.seconds, event.useful == options.slots and not event.admitted))
        last = now
        tokens += event.generated
        if event.index % 100 == 0:
            device = (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) if cuda else (0, 0)
            memory.append((event.index, resident(), *device))
    seconds = perf_counter() - began
    size = -(-len(times) // PARTS)
    parts: list[dict[str, Any]] = []
    for begin in range(0, len(times), size):
        full = [(wall, own) for wall, own, whole in times[begin : begin + size] if whole]
        _, rss, allocated, reserved = next(m for m in reversed(memory) if m[0] < begin + size)
        parts.append(
            {
                "iterations": min(size, len(times) - begin),
                "full_iterations": len(full),
                "wall_ms": median(wall for wall, _ in full) * 1e3 if full else None,
                "engine_ms": median(own for _, own in full) * 1e3 if full else None,
                "resident_mib": rss / 2**20,
                "device_allocated_mib": allocated / 2**20,
                "device_reserved_mib": reserved / 2**20,
            }
        )
        print(parts[-1], flush=True)
    found = {
        "model": loaded.name,
        "device": device_name(loaded.device),
        "slots": options.slots,
        "requests": options.requests,
        "iterations": len(times),
        "output_tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "parts": parts,
    }
    print(f"{options.requests:,} requests, {len(times):,} iterations, {tokens / seconds:,.0f} tokens/s")
    if options.json:
        write(options.json, __file__, argv, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
