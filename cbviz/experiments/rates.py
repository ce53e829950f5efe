"""How fast this device copies and multiplies, measured on the spot: what the floor under a run is made of."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import get_clock_info, perf_counter

import torch
from torch import Tensor

from cbviz.engine.device_memory import out_of_memory_told
from cbviz.measure.floor import ModelFacts, Rates
from cbviz.models import LoadedModel
from cbviz.models.device import free_bytes

COPY_BYTES = {"cuda": 2**31, "cpu": 2**26}
"""Size of the buffer that is copied: far beyond a GPU's L2; on a CPU beyond most last-level caches."""
SQUARE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices that are multiplied."""
WARM_UP, TIMED = 3, 10
TICK = max(get_clock_info("perf_counter").resolution, 1e-9)
"""Seconds: what took no time by a coarse clock took this long at most, and a rate stays finite."""


def model_facts(loaded: LoadedModel) -> ModelFacts:
    """What a forward pass of this model moves and computes."""
    model = loaded.model
    tables = {id(m.weight): m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    output = model.get_output_embeddings()
    if output is not None:
        tables.pop(id(output.weight), None)
    looked_up = sum(table.numel() * table.element_size() for table in tables.values())
    return ModelFacts(loaded.weight_bytes - looked_up, loaded.parameters, loaded.kv_bytes_per_token)


def measured_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Copy bandwidth and matrix-multiplication rate of a device; takes about a second and up to 4 GiB for a moment.

    Bandwidth counts bytes read and bytes written by a copy within the device: the faster of a plain copy and of a
    kernel that reads and writes, each the median of ten. The rate is that of two square matrices of random normal
    numbers in `dtype` (on a CPU in float32), the median of ten. Where little memory is free both are smaller.

    Raises CapacityError if there is not even so much.
    """
    try:
        with out_of_memory_told(device, "measuring how fast it copies and multiplies"):
            return Rates(_bandwidth(device), _flops(device, dtype if device.type == "cuda" else torch.float32))
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _bandwidth(device: torch.device) -> float:
    size = COPY_BYTES[device.type]
    if (free := free_bytes(device)) is not None:
        size = min(size, max(2**20, free // 8))
    source = torch.randint(0, 2**31 - 1, (size // 4,), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    copy = seconds(lambda: target.copy_(source), device)
    kernel = seconds(lambda: torch.bitwise_not(source, out=target), device)
    return moved / min(copy, kernel)


def _flops(device: torch.device, dtype: torch.dtype) -> float:
    n = SQUARE[device.type]
    while (free := free_bytes(device)) is not None and n > 256 and 3 * n * n * dtype.itemsize > free // 2:
        n //= 2
    left, right = (torch.randn(n, n, dtype=dtype, device=device) for _ in range(2))
    product = torch.empty_like(left)
    return 2 * n**3 / seconds(lambda: torch.mm(left, right, out=product), device)


def seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Median seconds of a call: by device events on a GPU, by the clock on a CPU; at least a tick of it."""
    for _ in range(WARM_UP):
        call()
    if device.type != "cuda":
        return max(median(_by_the_clock(call) for _ in range(TIMED)), TICK)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(TIMED + 1)]  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        marks[0].record()
        for mark in marks[1:]:
            call()
            mark.record()
        marks[-1].synchronize()
    return max(float(median(a.elapsed_time(b) for a, b in pairwise(marks))) / 1e3, TICK)


def _by_the_clock(call: Callable[[], Tensor]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began
