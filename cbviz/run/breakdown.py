"""Where the time of a step goes: attention, matrix products, other kernels, and gaps in which the GPU is idle.

Kernels are identified by the names that torch.profiler reports, also inside CUDA graphs. Profiling itself takes time,
in the gaps: a graph of several branches takes nearly twice as long. So a step is as long as the same iterations were
without the profiler, and what no kernel fills of that is gaps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from cbviz.core import Engine

ATTENTION = ("flash", "fmha", "attention", "attn", "_decode_kernel", "_place_kernel")
"""Substrings in the names of kernels that attend, merge splits, or write keys and values into the cache."""
GEMM = ("gemm", "gemv", "cutlass", "cublas", "nvjet", "xmma", "splitk", "matmul", "_mm_", "_gated_kernel")
"""Substrings in the names of matrix products. `_mm_` is Inductor's, for a product fused with its neighbours: with a
single token, a matrix–vector product with the norm before it or the activation after it."""
LISTED = 12


class Kernel(NamedTuple):
    """One kernel or copy on the device; times in microseconds."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Shares of the time of some iterations; they add up to 1.

    Attributes
    ----------
    iterations, step_seconds
        How many iterations were profiled, and the length of one without the profiler.
    attention, gemm, other, gaps
        Shares. Attention includes writing the cache; other includes copies between host and device.
    kernels
        (name, share, calls per iteration) of the longest-running kernels.
    """

    iterations: int
    step_seconds: float
    attention: float
    gemm: float
    other: float
    gaps: float
    kernels: tuple[tuple[str, float, float], ...]


def kind(name: str) -> str:
    """ "attention", "gemm" or "other", judged by a kernel's name."""
    lowered = name.lower()
    if any(part in lowered for part in ATTENTION):  # first: FlashAttention is made of CUTLASS
        return "attention"
    return "gemm" if any(part in lowered for part in GEMM) else "other"


def breakdown(kernels: Iterable[Kernel], iterations: int, seconds: float = 0.0) -> Breakdown | None:
    """Divide time among kinds of kernels.

    Parameters
    ----------
    kernels
        What ran. Overlapping time goes to the earlier kernel.
    iterations
        In how many.
    seconds
        What these took without the profiler; less than the kernels' own time means that time. 0, if that is unknown,
        takes the time from the first kernel to the last.

    Returns
    -------
    Breakdown or None
        None if no kernel ran.
    """
    ordered = sorted(kernels, key=lambda kernel: kernel.begin)
    if not ordered:
        return None
    busy: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    reached = begun = ordered[0].begin
    for kernel in ordered:
        busy[kernel.name] += max(0.0, kernel.end - max(reached, kernel.begin))
        calls[kernel.name] += 1
        reached = max(reached, kernel.end)
    filled = sum(busy.values())
    window = max(seconds * 1e6, filled) if seconds else reached - begun
    if not window:
        return None
    shares = {"attention": 0.0, "gemm": 0.0, "other": 0.0}
    for name, microseconds in busy.items():
        shares[kind(name)] += microseconds / window
    most = sorted(busy, key=lambda name: busy[name], reverse=True)[:LISTED]
    return Breakdown(
        iterations=iterations,
        step_seconds=window / 1e6 / iterations,
        **shares,
        gaps=1 - filled / window,
        kernels=tuple((name[:120], busy[name] / window, calls[name] / iterations) for name in most),
    )


def profiled(engine: Engine, iterations: int, seconds: float) -> Breakdown | None:
    """Profile an engine's next iterations on a CUDA device; None if none ran or the profiler saw no kernel.

    `seconds` is what so many iterations take there without the profiler.

    A profiler sees no kernels where the driver reserves its counters for administrators, and in some containers.
    """
    from torch.profiler import DeviceType, ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        done = 0
        while done < iterations and engine.step() is not None:
            done += 1
        torch.cuda.synchronize()
    events = profiler.events() or ()
    kernels = [
        Kernel(event.name, event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    return breakdown(kernels, done, seconds * done / iterations) if done else None
