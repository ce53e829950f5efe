"""Record the times that notebook 02 shows where a machine is too busy to measure.

    python tools/record_times.py cbviz/course/recorded_times.json

Run it on a machine with nothing else to do: it refuses to record times that its own check calls too busy. The model has
the shape of SmolLM2-135M and random weights, which take as long as the real ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import cbviz
from cbviz.models import LoadedModel
from cbviz.run.rates import measured_rates
from cbviz.run.timings import card_name, timings

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PROMPTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CONTEXT, TOKENS, HEADS, SIZE = 32, 1024, 9, 64


def work(model: LoadedModel) -> dict[str, tuple[Sequence[int], Callable[[int], Callable[[], object]]]]:
    """The three kinds of work of notebook 02: their sizes, and what makes a call of a size."""

    def tokens(rows: int, length: int) -> torch.Tensor:
        return torch.randint(3, model.vocabulary, (rows, length), device=model.device)

    def decode(batch: int) -> Callable[[], object]:
        cache = model.model(tokens(batch, CONTEXT), use_cache=True, logits_to_keep=1).past_key_values
        newest = tokens(batch, 1)
        return lambda: model.model(newest, past_key_values=cache, use_cache=True)

    def prefill(length: int) -> Callable[[], object]:
        prompt = tokens(1, length)
        return lambda: model.model(prompt, logits_to_keep=1)

    def attention(naive: int) -> Callable[[], object]:
        query, key, value = (torch.randn(1, HEADS, TOKENS, SIZE, device=model.device) for _ in range(3))
        if naive == 1:
            return lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return lambda: (query @ key.transpose(-1, -2) / SIZE**0.5).softmax(-1) @ value

    return {"decode": (BATCHES, decode), "prefill": (PROMPTS, prefill), "attention": ((1, 2), attention)}


def main(argv: Sequence[str]) -> int:
    """Returns 1 where the machine is too busy to be recorded."""
    model = cbviz.models.load("random:smollm2-135m", device="cpu")
    found = {}
    for what, (sizes, make) in work(model).items():
        found[what] = timings(make, sizes, model.device)
        print(what, found[what])
    if any(times.busy for times in found.values()):
        print("This machine is too busy to record.", file=sys.stderr)
        return 1
    rates = measured_rates(model.device, model.dtype)
    measured = {
        "card": f"{card_name(model.device)}, {torch.get_num_threads()} threads",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "bandwidth": float(f"{rates.bandwidth:.4g}"),
        "flops": float(f"{rates.flops:.4g}"),
        "milliseconds": {
            what: {str(size): round(ms, 3) for size, ms in times.milliseconds.items()} for what, times in found.items()
        },
    }
    Path(argv[0]).write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
