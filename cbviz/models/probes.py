"""The queries to PyTorch, the driver and Triton about a device. Tests replace them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import torch

from cbviz.models.compiler_cache import keep_compiled, start_afresh

Answer = TypeVar("Answer")

_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/kfd"))
"""Files by which Linux shows the drivers of NVIDIA and AMD."""


class Gpu(NamedTuple):
    """What the driver reports about a GPU; None for what it does not."""

    name: str
    sm: tuple[int, int] | None
    """Compute capability: (9, 0) is an H100's."""
    memory: int | None
    """Total bytes; for a MIG slice, those of the slice."""


class Probes(Protocol):
    """The queries of `cbviz.models.capability`. Methods may raise anything; the errors end up in messages."""

    def build(self) -> tuple[str, str]:
        """What this PyTorch was built for, "cuda", "rocm" or "", and its version."""
        ...

    def count(self) -> int:
        """Number of GPUs that this PyTorch can open."""
        ...

    def current(self) -> int:
        """Index of the GPU that "cuda" stands for."""
        ...

    def open(self) -> None:
        """Start the driver; raises an error that says why if that fails."""
        ...

    def gpu(self, index: int) -> Gpu:
        """Name, compute capability and memory of a GPU."""
        ...

    def present(self) -> bool:
        """Whether the machine has a visible GPU driver, even if PyTorch cannot use it."""
        ...

    def architectures(self) -> tuple[str, ...]:
        """Architectures of this PyTorch's kernels: "sm_80", "compute_120" …; () if unknown."""
        ...

    def launch(self, index: int) -> None:
        """Run one kernel of PyTorch's on a GPU and wait for it."""
        ...

    def flash_attention(self) -> bool:
        """Whether this PyTorch contains FlashAttention."""
        ...

    def triton(self, index: int) -> str:
        """Triton's version, after it has compiled one kernel and run it on the GPU; raises if that fails."""
        ...

    def free(self, index: int) -> int:
        """Bytes of a GPU that can still be allocated, without those that PyTorch holds unused."""
        ...


class TorchProbes:
    """The real queries."""

    def build(self) -> tuple[str, str]:
        """See `Probes`."""
        kind = "rocm" if torch.version.hip else "cuda" if torch.version.cuda else ""
        return kind, torch.__version__

    def count(self) -> int:
        """See `Probes`."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def current(self) -> int:
        """See `Probes`."""
        return torch.cuda.current_device()

    def open(self) -> None:
        """See `Probes`."""
        torch.cuda.init()  # type: ignore[no-untyped-call]

    def present(self) -> bool:
        """See `Probes`."""
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
        return not hidden and any(path.exists() for path in _DRIVERS)

    def gpu(self, index: int) -> Gpu:
        """See `Probes`."""
        return Gpu(
            _unless_it_fails(lambda: torch.cuda.get_device_name(index)) or f"cuda:{index}",
            _unless_it_fails(lambda: torch.cuda.get_device_capability(index)),
            _unless_it_fails(lambda: int(torch.cuda.get_device_properties(index).total_memory)),
        )

    def architectures(self) -> tuple[str, ...]:
        """See `Probes`."""
        return tuple(torch.cuda.get_arch_list())

    def launch(self, index: int) -> None:
        """See `Probes`."""
        torch.zeros(1, device=torch.device("cuda", index)).add_(1).item()

    def flash_attention(self) -> bool:
        """See `Probes`."""
        return bool(torch.backends.cuda.is_flash_attention_available())

    def triton(self, index: int) -> str:
        """See `Probes`."""
        from cbviz.models.trial import doubled

        device = torch.device("cuda", index)
        keep_compiled()
        try:
            return doubled(device)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # a damaged cache, or the compiler or driver itself: then it fails again
            if not start_afresh(error):
                raise
            return doubled(device)

    def free(self, index: int) -> int:
        """See `Probes`."""
        return int(torch.cuda.mem_get_info(index)[0])


def _unless_it_fails(ask: Callable[[], Answer]) -> Answer | None:
    try:
        return ask()
    except Exception:  # drivers and PyTorch's builds fail in many ways
        return None
