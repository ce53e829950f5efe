"""Are the engine's greedy answers those of `model.generate`, one request at a time?

    python benchmarks/answers.py --model smollm2-135m --json FILE

In 16 bits they may diverge where the two best logits are so close that another order of additions swaps them. Every
divergence is reported with that gap, computed by a plain forward pass. The run fails if a gap is larger than
`--tolerance`: bfloat16 has 8 bits, so logits between 16 and 32 are 0.125 apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from result_file import write
from transformers import GenerationConfig

from cbviz.eager.logit_rules import LogitRules
from cbviz.measure.roofline_bound import Rates
from cbviz.models import LoadedModel, load
from cbviz.run.answers import top_two_gap
from cbviz.run.bench import bench
from cbviz.run.bench_work import named_workload, suitable
from cbviz.workload import Request


@torch.inference_mode()
def alone(loaded: LoadedModel, request: Request) -> tuple[int, ...]:
    """The answer of the model alone, including END."""
    forced = request.output_length
    prompt = torch.tensor([request.prompt], device=loaded.device)
    output = loaded.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=GenerationConfig(
            max_new_tokens=forced or request.max_new_tokens,
            min_new_tokens=forced,
            do_sample=False,
            eos_token_id=None if forced else list(loaded.end_tokens),
            pad_token_id=0,
        ),
    )
    return tuple(output[0, len(request.prompt) :].tolist())


def gap(loaded: LoadedModel, request: Request, output: Sequence[int]) -> float:
    """Difference of the two best logits after this output, under the model's generation config."""
    tokens = [*request.prompt, *output]
    return top_two_gap(loaded.model, tokens, LogitRules.of(loaded.model), len(request.prompt))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--tolerance", type=float, default=0.25)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    work = named_workload(suitable(loaded), loaded, requests=options.requests)
    found = bench(
        loaded,
        workload=work,
        slots=options.slots,
        repeats=1,
        compiled=not options.no_compile,
        profile=False,
        rates=Rates(1, 1),  # the floor does not matter here
    )
    apart: list[dict[str, Any]] = []
    for request in work:
        ours = found.trace.requests.tokens[found.trace.requests.row(request.id)]
        theirs = alone(loaded, request)
        if ours == theirs:
            continue
        pairs = zip(ours, theirs, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
        apart.append({"request": request.id, "position": at, "gap": gap(loaded, request, ours[:at])})
    largest = max((place["gap"] for place in apart), default=0.0)
    facts = {
        "model": loaded.name,
        "device": found.device,
        "dtype": found.dtype,
        "slots": options.slots,
        "requests": len(work),
        "output_tokens": found.output_tokens,
        "divergences": apart,
        "largest_gap": largest,
        "tolerance": options.tolerance,
    }
    print(f"{len(apart)} of {len(work)} answers diverge from the model's own; the largest gap there is {largest:.3g}.")
    if options.json:
        write(options.json, __file__, argv, **facts)
    return 0 if largest <= options.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
