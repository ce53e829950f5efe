"""How fast this device copies and multiplies, measured here: the inputs of a run's roofline floor."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import get_clock_info, perf_counter

import torch
from torch import Tensor

from cbviz.eager.out_of_memory import OUT_OF_MEMORY, out_of_memory
from cbviz.measure.roofline_bound import ModelFacts, Rates
from cbviz.models import LoadedModel
from cbviz.models.device import free_bytes

COPY_BYTES = {"cuda": 2**31, "cpu": 2**26}
"""Bytes of the buffer that is copied: far larger than a GPU's L2, and than most CPUs' last-level caches."""
SQUARE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices that are multiplied."""
WARM_UP, TIMED = 3, 10
TICK = max(get_clock_info("perf_counter").resolution, 1e-9)
"""Seconds: the shortest duration we report, so that a coarse clock gives no infinite rate."""


def model_facts(loaded: LoadedModel) -> ModelFacts:
    """What a forward pass of this model moves and computes.

    Parameters
    ----------
    loaded
        The model.

    Returns
    -------
    ModelFacts
        Bytes of weights read by a pass (an embedding table that is only looked up is left out), number of parameters,
        and KV bytes per token.
    """
    model = loaded.model
    tables = {id(m.weight): m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    output = model.get_output_embeddings()
    if output is not None:
        tables.pop(id(output.weight), None)
    looked_up = sum(table.numel() * table.element_size() for table in tables.values())
    return ModelFacts(loaded.weight_bytes - looked_up, loaded.parameters, loaded.kv_bytes_per_token)


def measured_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure a device's copy bandwidth and matrix-multiplication rate, in about a second and up to 4 GiB.

    Bandwidth counts the bytes read and written by a copy within the device: the faster of a plain copy and a kernel
    that reads and writes, each the median of ten. The arithmetic rate is that of multiplying two square matrices of
    normal random numbers, the median of ten. With little free memory, both use smaller buffers.

    Parameters
    ----------
    device
        Where to measure.
    dtype
        The dtype of the matrices; a CPU always uses float32.

    Returns
    -------
    Rates
        Bytes a second and floating-point operations a second.

    Raises
    ------
    CapacityError
        Not even the smallest buffers fit in free memory.
    """
    try:
        return Rates(_bandwidth(device), _flops(device, dtype if device.type == "cuda" else torch.float32))
    except OUT_OF_MEMORY as error:
        raise out_of_memory(device, "measuring how fast it copies and multiplies") from error
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
    """Median seconds of a call: by device events on a GPU, by the clock on a CPU; at least one tick."""
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
