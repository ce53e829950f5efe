"""What a device can do: asked once, kept, and turned into the sentences that say how a run is computed, and why.

CUDA graphs need our Triton kernels and FlashAttention, and both need an Ampere GPU (compute capability 8.0) or a newer
one. Everywhere else passes run eagerly with PyTorch's own attention, in a number format that the device computes in.
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
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Capability:
    """What is known of one device.

    Attributes
    ----------
    kind
        "cpu", "cuda" (NVIDIA) or "rocm" (AMD; PyTorch calls such devices "cuda", too).
    name
        As people know it: "cpu", "NVIDIA H100 80GB HBM3".
    sm
        Compute capability of an NVIDIA GPU, such as (7, 5); None where there is none, or where it is not known.
    memory
        Bytes of a GPU, all of them; None for a CPU, or where the driver does not say.
    triton
        Version of a Triton that has compiled and run a kernel on this very GPU; "" without one.
    triton_error
        Why there is none, in one line: the error of its import, its compiler or the driver. "" if it was not tried.
    bf16
        Whether the device has bfloat16 arithmetic, so that the format can be used there.
    flash
        Whether FlashAttention can run.
    unusable
        Why this PyTorch cannot compute on the device at all; "" if nothing speaks against it.
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
        """float32 on a CPU, where answers are compared token by token; else bfloat16, or float16 for want of it."""
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
        """Why the device cannot compute in that number format, as a sentence; None if it can."""
        if dtype == torch.bfloat16 and not self.bf16:
            least = f" (compute capability {dotted(self.sm)}, and bfloat16 needs 8.0)" if self.sm else ""
            return f"{self.name} has no bfloat16 arithmetic{least}; use float16 or float32."
        return None


def dotted(sm: tuple[int, int]) -> str:
    """(7, 5) as people write it: "7.5"."""
    return f"{sm[0]}.{sm[1]}"


def probes() -> Probes:
    """What answers."""
    return TorchProbes()


@cache
def broken(device: torch.device) -> str:
    """Why one addition cannot be done on a GPU, tried once; "" if it can."""
    try:
        probes().launch(device.index or 0)
    except Exception as error:  # the driver's, PyTorch's
        return one_line(error)
    return ""


@cache
def capability(device: torch.device) -> Capability:
    """What this device can do, asked when it is first wanted (a Triton kernel takes a moment to compile), then kept."""
    index = probes().current() if str(device) == "cuda" else device.index
    return ask(probes(), device.type, index or 0)


def forget() -> None:
    """Ask again from now on; for tests, which put other probes in place."""
    capability.cache_clear()
    broken.cache_clear()


def ask(about: Probes, kind: str, index: int = 0) -> Capability:
    """Ask everything about one device; `kind` is PyTorch's type of it."""
    if kind != "cuda":
        return Capability(kind, kind, unusable="" if kind == "cpu" else f"cbviz does not run on {kind} devices")
    build, version = about.build()
    gpu = about.gpu(index)
    if build == "rocm":
        # The compute capability that PyTorch gives is not one of NVIDIA's: (9, 4) is an MI300.
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
    """Triton's version and "", or "" and why it does not work."""
    try:
        return about.triton(index), ""
    except ModuleNotFoundError:
        return "", "it is not installed"
    except Exception as error:  # its compiler, the C compiler, the driver and the disk each have their own
        # Triton's compiler begins with a place ("at 1:28:"), goes on with the source, and ends with what is wrong.
        *_, last = str(error).strip().splitlines() or [""]
        placed = re.match(r"at \d+:\d+:", str(error))
        return "", one_line(RuntimeError(last)) if placed and last.strip() else one_line(error)


def _compiled_for(sm: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether kernels compiled for these run on that GPU: the same generation, not newer; or code for later ones."""
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
