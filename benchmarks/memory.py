"""What prefix sharing saves, and what preemption by swap costs compared with recomputing: undisturbed runs, measured.

python benchmarks/memory.py --json FILE
python benchmarks/memory.py --model tiny --slots 4 --requests 16 --stem 64 --prompt 16 --output-tokens 24

Every prompt begins with the same `--stem` tokens. The workload is served twice with all the memory that it can use,
without and with the prefix cache; and twice in a pool of `--share` of that memory, once recomputing preempted requests
and once swapping them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from result_file import write

from cbviz.measure import summary
from cbviz.models import load
from cbviz.run.bench import bench
from cbviz.run.rates import measured_rates
from cbviz.workload import Workload
from cbviz.workload.synthetic import synthetic


def alike(vocabulary: int, *, requests: int, stem: int, prompt: int, output: int, seed: int) -> Workload:
    """Random prompts after a common prefix; all answers have the same length."""
    drawn = synthetic(requests, output, prompt_tokens=stem + prompt, vocabulary=vocabulary, seed=seed)
    beginning = drawn.requests[0].prompt[:stem]
    made = tuple(replace(request, prompt=beginning + request.prompt[stem:]) for request in drawn)
    return Workload(f"{stem} tokens in common, {prompt} of one's own", made, seed=seed)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llama-3.1-8b")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--stem", type=int, default=1024, help="tokens of the common prefix (1024)")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt after the prefix (64)")
    parser.add_argument("--output-tokens", type=int, default=256)
    parser.add_argument("--block-size", type=int, default=16)
    parser.add_argument("--share", type=float, default=0.7, help="share of the slots' memory in the tight pool (0.7)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    work = alike(
        loaded.vocabulary,
        requests=options.requests,
        stem=options.stem,
        prompt=options.prompt,
        output=options.output_tokens,
        seed=options.seed,
    )
    size = options.block_size
    whole = options.slots * -(-(options.stem + options.prompt + options.output_tokens) // size)
    tight = max(whole // options.slots, int(whole * options.share))
    runs: list[dict[str, Any]] = [
        {"name": "computed by everybody", "policy": "vllm_v1", "kv_blocks": whole},
        {"name": "beginnings shared", "policy": "vllm_v1", "kv_blocks": whole, "prefix_cache": True},
        {"name": "tight, recompute", "policy": "vllm_v0", "kv_blocks": tight},
        {"name": "tight, swap", "policy": "vllm_v0", "kv_blocks": tight, "preemption": "swap", "swap_blocks": whole},
    ]
    rates = measured_rates(loaded.device, loaded.dtype)
    facts = []
    titles = f"{'tok/s':>9}{'iterations':>12}{'TTFT p50':>10}{'found':>8}{'preempted':>11}{'again':>9}{'MiB moved':>11}"
    print(" " * 24 + titles)
    for run in runs:
        name = run.pop("name")
        result = bench(
            loaded,
            run.pop("policy"),
            workload=work,
            slots=options.slots,
            block_size=size,
            repeats=options.repeats,
            compiled=not options.no_compile,
            profile=False,
            rates=rates,
            **run,
        )
        found = summary(result.trace)
        again = int(result.trace.iterations.recompute_tokens.sum())
        moved = (found.swapped_out_bytes + found.swapped_in_bytes) / 2**20
        hits = found.prefix_hits / (found.prefix_queries or 1)
        print(
            f"{name:24}{result.tokens_per_second:9,.0f}{result.iterations:12,}{found.ttft.median * 1e3:8,.0f}ms"
            f"{hits:8.1%}{found.preemptions:11,}{again:9,}{moved:11,.1f}",
            flush=True,
        )
        facts.append({"name": name, **result.to_json(), "recomputed": again, "hits": hits, "moved_mib": moved})
        if options.json:
            write(options.json, __file__, argv, runs=facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
