"""Where the engine has two kernels for one job, what each takes: the measurements behind its choices.

    python benchmarks/choices.py --json FILE
    python benchmarks/choices.py --only gate

- **gate**: the three products of a gated layer of SmolLM2's shapes, by cuBLAS and Inductor or with gate and up in our
  kernel (`cbviz/cuda/fused_gate.py`): a chain of layers in one graph, each with weights of its own.
- **flash**: prompts by PyTorch's FlashAttention-2, and by FlashAttention-3 if `flash_attn_interface` can be imported
  (`cbviz/cuda/flash3.py`): among queries that fill the graph, and with room for more prompts, as graphs have it.

Each pair must agree before it is timed. Both run on an NVIDIA GPU of compute capability 9.0 or more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from result_file import write
from torch import Tensor

from cbviz.cuda import flash3, varlen
from cbviz.cuda.fused_gate import LARGEST_GATE, in_two_kernels, multiply
from cbviz.models.capability import HOPPER, capability

WIDTHS = {"smollm2-135m": (576, 1536, 30), "smollm2-360m": (960, 2560, 32), "smollm2-1.7b": (2048, 8192, 24)}
"""A shape's hidden size, width of a gated layer, and number of layers."""
TOKENS = (2, 8, 32, 64, 128, 144, 192, 256, 384, 512, 1024, 8192)
HEADS = {"llama-3.1-8b": (32, 8, 128), "smollm2-135m": (9, 3, 64)}
"""A shape's query heads, KV heads and head size."""
PROMPTS = (
    (1, 2048, 1),
    (1, 2048, 32),
    (4, 2048, 32),
    (1, 1024, 32),
    (1, 512, 32),
    (1, 256, 16),
    (1, 128, 8),
    (4, 128, 32),
)
"""Prompts, their tokens, and how many prompts the graph has room for."""
CALLS = 10
"""Of attention in a graph, which takes microseconds."""


def microseconds(*work: Callable[[], object]) -> float:
    """Microseconds of a call, as `attention.py` times them: all in one CUDA graph."""
    from attention import seconds_a_call  # it needs Triton, which a machine without a GPU may lack

    return seconds_a_call(list(work)) * 1e6


def apart(one: Tensor, other: Tensor) -> float:
    """How far two results are from each other, as a share of their size."""
    return float((one.float() - other.float()).norm() / other.float().norm())


def chain(x: Tensor, gated: Callable[[Tensor, Tensor], Tensor], layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Gated layers one after the other, each on the output of the one before."""
    for weight, down in layers:
        x = F.linear(gated(x, weight), down)
    return x


def gated_layers() -> Iterator[dict[str, Any]]:
    """Microseconds of a gated layer, both ways, for every shape and number of tokens."""
    ways = {"two kernels": torch.compile(in_two_kernels, dynamic=True), "one kernel": multiply}
    for shape, (hidden, width, count) in WIDTHS.items():
        layers = [(drawn(2 * width, hidden) / hidden**0.5, drawn(hidden, width) / width**0.5) for _ in range(count)]
        for tokens in TOKENS:
            x, weight = drawn(tokens, hidden), layers[0][0]
            error = apart(multiply(x, weight), in_two_kernels(x, weight))
            assert error < 0.01, (shape, tokens, error)
            taken = {way: microseconds(partial(chain, x, gated, layers)) / count for way, gated in ways.items()}
            chosen = weight.nbytes <= LARGEST_GATE
            yield {"shape": shape, "tokens": tokens, "microseconds": taken, "chosen": chosen, "error": error}


def drawn(*shape: int) -> Tensor:
    """Random numbers in bfloat16 on the GPU."""
    return torch.randn(shape, device="cuda").bfloat16()


def prompts() -> Iterator[dict[str, Any]]:
    """Microseconds of the attention of prompts by both versions of FlashAttention."""
    ways = {"FlashAttention-2": varlen._flash()}
    if flash3._function() is not None:
        ways["FlashAttention-3"] = flash3.attend
    for shape, (heads, kv_heads, size) in HEADS.items():
        for count, length, room in PROMPTS:
            query, key, value = (drawn(count * length, n, size) for n in (heads, kv_heads, kv_heads))
            bounds = torch.tensor([min(i, count) * length for i in range(room + 1)], dtype=torch.int32, device="cuda")
            packed = varlen.PackedPrompts(bounds, bounds, length, length, True, bounds)
            calls = {name: partial(way, query, key, value, packed, size**-0.5, -1) for name, way in ways.items()}
            outputs = [call() for call in calls.values()]
            error = apart(outputs[-1], outputs[0])
            assert error < 0.01, (shape, count, length, error)
            taken = {name: microseconds(*[call] * CALLS) for name, call in calls.items()}
            about = {"shape": shape, "prompts": count, "tokens": length, "room": room}
            yield {**about, "microseconds": taken, "chosen": length >= flash3.LONG_PROMPT, "error": error}


PARTS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {"gate": gated_layers, "flash": prompts}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PARTS), help="one of the parts (both)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    device = torch.device("cuda")
    if not torch.cuda.is_available() or (capability(device).sm or (0, 0)) < HOPPER:
        print(
            "these kernels run on an NVIDIA GPU of compute capability 9.0 or more, and here is none.", file=sys.stderr
        )
        return 2
    found: dict[str, list[dict[str, Any]]] = {}
    for part in (options.only,) if options.only else PARTS:
        for row in PARTS[part]():
            found.setdefault(part, []).append(row)
            named = ", ".join(f"{name} {row[name]}" for name in ("shape", "prompts", "tokens", "room") if name in row)
            taken = ", ".join(f"{way} {value:.2f} µs" for way, value in row["microseconds"].items())
            print(f"{named}: {taken}{' (chosen: the second)' if row['chosen'] else ''}", flush=True)
            if options.json:
                write(options.json, __file__, argv, device=torch.cuda.get_device_name(), **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
