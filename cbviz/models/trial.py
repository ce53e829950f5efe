"""The smallest Triton kernel: Triton works on a device if it compiles and runs there.

Triton may be installed and still not work: it needs a C compiler with Python's headers for its launcher, a cache
folder that can be written, and a driver that it understands.
"""

from __future__ import annotations

import torch

try:
    import triton
    import triton.language as tl
except Exception as error:  # a broken Triton raises anything
    triton = tl = None
    _BROKEN: Exception | None = error
else:
    _BROKEN = None


def _double_kernel(numbers):  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    place = numbers + tl.arange(0, 16)
    tl.store(place, 2 * tl.load(place))


def doubled(device: torch.device) -> str:
    """Double 16 numbers with a Triton kernel and return Triton's version.

    Raises the error of Triton's import, of its compiler or of the driver, or RuntimeError if the numbers are wrong.
    """
    if _BROKEN is not None:
        raise _BROKEN
    numbers = torch.arange(16, dtype=torch.float32, device=device)
    with torch.cuda.device(device):
        triton.jit(_double_kernel)[(1,)](numbers)
    if numbers.tolist() != [2.0 * i for i in range(16)]:
        raise RuntimeError("a kernel that doubles numbers gave wrong ones")
    return str(triton.__version__)
