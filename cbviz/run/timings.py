"""Time a call for several sizes, and say whether the machine was quiet enough for the times to mean anything."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

LEAST, MOST, SECONDS = 3, 15, 1.0
"""Each size is timed at least and at most so many times, and no longer than about this many seconds."""
NOISY_SPREAD = 1.35
"""A median so many times the fastest repeat: something else took the processor in between."""
BACKWARDS = 1.15
"""A larger size that is faster than a smaller one by more than this factor: by noise, if there is any."""
STEADY_SPREAD, IDLE = 1.1, 0.25
"""Repeats and load up to which a larger size may be faster: some matrix kernels are quicker with 4 rows than with 2."""
LOAD = 1.0
"""Processes that want to run beside this one, for each core, from which on no time is trusted."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Times of a call, and what speaks against them.

    Attributes
    ----------
    milliseconds
        Size → the fastest repeat: whatever else runs only makes a call slower.
    spread
        The median of the repeats over their fastest; of all sizes the one in the middle. 1.0 is perfectly steady.
    backwards
        The largest factor by which a larger size was faster than a smaller one; 1.0 if none was.
    load
        Other processes that wanted to run, for each core, over the last minute; 0.0 where the system does not tell.
    """

    milliseconds: dict[int, float]
    spread: float
    backwards: float
    load: float

    @property
    def busy(self) -> bool:
        """Whether the machine had too much else to do."""
        steady = self.spread <= STEADY_SPREAD and self.load <= IDLE
        return self.spread > NOISY_SPREAD or self.load > LOAD or (self.backwards > BACKWARDS and not steady)


def timings(
    make: Callable[[int], Callable[[], object]], sizes: Sequence[int], device: torch.device, *, rising: bool = True
) -> Timings:
    """Time what `make` gives for each size: once to warm up, then until the spread can be seen.

    Parameters
    ----------
    make
        Size → a function without parameters. It is called under `torch.inference_mode()`.
    sizes
        From small to large.
    device
        On a GPU every call waits until its kernels have run.
    rising
        Whether a larger size is more work, so that it must not be faster.
    """
    best: dict[int, float] = {}
    spreads = []
    with torch.inference_mode():
        for size in sizes:
            repeats = _repeats(make(size), device)
            best[size] = 1000 * min(repeats)
            spreads.append(median(repeats) / min(repeats))
    times = list(best.values())
    pairs = [early / late for i, early in enumerate(times) for late in times[i + 1 :]] if rising else []
    return Timings(best, median(spreads), max(1.0, *pairs, 1.0), _load(device))


def _repeats(call: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds of each repeat."""
    call()
    _wait(device)
    repeats: list[float] = []
    began = perf_counter()
    while len(repeats) < LEAST or (len(repeats) < MOST and perf_counter() - began < SECONDS):
        start = perf_counter()
        call()
        _wait(device)
        repeats.append(perf_counter() - start)
    return repeats


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _load(device: torch.device) -> float:
    """Processes for each core that wanted to run beside this one; a GPU's times hardly depend on them."""
    if device.type == "cuda" or not hasattr(os, "getloadavg"):
        return 0.0
    return max(0.0, os.getloadavg()[0] - torch.get_num_threads()) / (os.cpu_count() or 1)


def card_name(device: torch.device) -> str:
    """What the device is called: a GPU's name, or the processor's and how many cores it shows."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = os.cpu_count() or 1
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).is_file():
        lines = info.read_text("utf-8", "replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{' '.join(name.split())}, {cores} core{'s' * (cores > 1)}"
