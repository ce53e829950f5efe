"""What a device can do, probed once and cached, and the sentences that explain how a run is computed there.

CUDA graphs need our Triton kernels and FlashAttention, and both need an Ampere GPU (compute capability 8.0) or a newer
one. Everywhere else passes run eagerly with PyTorch's own attention, in a dtype that the device supports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import torch

from cbviz.checks import one_line
from cbviz.models.probes import Probes, TorchProbes

AMPERE = (8, 0)
"""The least compute capability of Triton's and FlashAttention's kernels, and of bfloat16 arithmetic."""
HOPPER = (9, 0)
"""From this compute capability on a kernel can begin while the one before still runs."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Capability:
    """What is known about one device.

    Attributes
    ----------
    kind
        "cpu", "cuda" (NVIDIA) or "rocm" (AMD; PyTorch calls such devices "cuda", too).
    name
        "cpu", or the product name, such as "NVIDIA H100 80GB HBM3".
    sm
        Compute capability of an NVIDIA GPU, such as (7, 5); None for other devices, or if it is unknown.
    memory
        Total bytes of a GPU; None for a CPU, or if the driver does not say.
    triton
        Version of Triton, if it has compiled and run a kernel on this GPU; else "".
    triton_error
        Why it does not work, in one line: the error of its import, its compiler or the driver. "" if it was not tried.
    bf16
        Whether the device has bfloat16 arithmetic.
    flash
        Whether FlashAttention can run.
    unusable
        Why this PyTorch cannot compute on the device at all; "" if it can.
    """

    kind: str
    name: str
    sm: tuple[int, int] | None = None
    memory: int | None = None
    triton: str = ""
    triton_error: str = ""
    bf16: bool = True
    flash: bool = False
    unusable: str = ""

    @property
    def default_dtype(self) -> torch.dtype:
        """float32 on a CPU, where answers are compared token by token; else bfloat16, or float16 without it."""
        if self.kind == "cpu":
            return torch.float32
        return torch.bfloat16 if self.bf16 else torch.float16

    @property
    def no_graphs(self) -> str | None:
        """Why passes cannot become CUDA graphs on this device, as the end of a sentence; None if they can."""
        if self.kind == "cpu":
            return "a CPU runs no CUDA graphs"
        if self.kind == "rocm":
            return f"{self.name} is an AMD GPU, and our kernels for CUDA graphs are written for NVIDIA's"
        if self.sm is None:
            return f"the driver does not say which compute capability {self.name} has, and they need 8.0 or more"
        if self.sm < AMPERE:
            return f"{self.name} has compute capability {dotted(self.sm)}, and they need 8.0 (Ampere) or more"
        if not self.triton:
            return f"they need Triton, which does not work here ({self.triton_error})"
        if not self.flash:
            return "they need FlashAttention, which this PyTorch was built without"
        return None

    def why_not(self, dtype: torch.dtype) -> str | None:
        """Why the device does not support a dtype, as a sentence; None if it does."""
        if dtype == torch.bfloat16 and not self.bf16:
            least = f" (compute capability {dotted(self.sm)}, and bfloat16 needs 8.0)" if self.sm else ""
            return f"{self.name} has no bfloat16 arithmetic{least}; use float16 or float32."
        return None


def dotted(sm: tuple[int, int]) -> str:
    """(7, 5) as "7.5"."""
    return f"{sm[0]}.{sm[1]}"


def probes() -> Probes:
    """The probes that answer; tests replace them."""
    return TorchProbes()


@cache
def broken(device: torch.device) -> str:
    """Why a GPU fails at a single addition, tried once; "" if it works."""
    try:
        probes().launch(device.index or 0)
    except Exception as error:  # the driver's, PyTorch's
        return one_line(error)
    return ""


@cache
def capability(device: torch.device) -> Capability:
    """What a device can do; probed on first use (compiling a Triton kernel takes a moment), then cached."""
    index = probes().current() if str(device) == "cuda" else device.index
    return ask(probes(), device.type, index or 0)


def forget() -> None:
    """Drop cached answers; for tests that replace the probes."""
    capability.cache_clear()
    broken.cache_clear()


def ask(about: Probes, kind: str, index: int = 0) -> Capability:
    """Probe one device; `kind` is its type in PyTorch."""
    if kind != "cuda":
        return Capability(kind, kind, unusable="" if kind == "cpu" else f"cbviz does not run on {kind} devices")
    build, version = about.build()
    gpu = about.gpu(index)
    if build == "rocm":
        # PyTorch's compute capability is not NVIDIA's here: (9, 4) is an MI300.
        return Capability("rocm", gpu.name, memory=gpu.memory)
    known_old = gpu.sm is not None and gpu.sm < AMPERE
    triton, triton_error = ("", "") if known_old else _triton(about, index)
    architectures = about.architectures()
    unusable = ""
    if gpu.sm is not None and architectures and not _compiled_for(gpu.sm, architectures):
        unusable = (
            f"PyTorch {version} has no kernels for {gpu.name} (compute capability {dotted(gpu.sm)}); it was compiled "
            f"for {', '.join(architectures)}"
        )
    return Capability(
        kind="cuda",
        name=gpu.name,
        sm=gpu.sm,
        memory=gpu.memory,
        triton=triton,
        triton_error=triton_error,
        bf16=not known_old,
        flash=not known_old and about.flash_attention(),
        unusable=unusable,
    )


def _triton(about: Probes, index: int) -> tuple[str, str]:
    """(version, "") of Triton, or ("", why it does not work)."""
    try:
        return about.triton(index), ""
    except ModuleNotFoundError:
        return "", "it is not installed"
    except Exception as error:  # its compiler, the C compiler, the driver and the disk each raise their own
        # A message of Triton's compiler begins with a place ("at 1:28:"), quotes the source, and ends with the error.
        *_, last = str(error).strip().splitlines() or [""]
        placed = re.match(r"at \d+:\d+:", str(error))
        return "", one_line(RuntimeError(last)) if placed and last.strip() else one_line(error)


def _compiled_for(sm: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether kernels compiled for these architectures run on a GPU: the same generation and not newer, or PTX."""
    own = 10 * sm[0] + sm[1]
    for name in architectures:
        kind, _, digits = name.partition("_")
        exact = digits[-1:] in ("a", "f")  # runs on that GPU, or its family, alone
        if not (plain := digits.rstrip("af")).isdigit():
            continue
        built = int(plain)
        if built == own or (not exact and kind == "compute" and built < own):
            return True
        if built < own and built // 10 == sm[0] and ((kind == "sm" and not exact) or digits.endswith("f")):
            return True
    return False
