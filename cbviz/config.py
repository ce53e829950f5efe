"""How an engine is set up: one configuration, from which `cbviz.run.build` makes pools, executors and engines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from cbviz.checks import flag, one_of, shown, whole
from cbviz.errors import CapacityError, CbvizError
from cbviz.limits import MOST_BLOCK_SIZE, MOST_BLOCKS, MOST_SLOTS, MOST_TOKENS

Preemption = Literal["recompute", "swap"]
Backend = Literal["sdpa", "graphs"]
BACKENDS: tuple[Backend, ...] = ("sdpa", "graphs")
"""What can compute a pass (see `EngineConfig`)."""


@dataclass(frozen=True, slots=True)
class KVOptions:
    """How memory is shared and how it is taken away. `Engine` says what makes no sense.

    Parameters
    ----------
    prefix_cache
        Whether requests with the same beginning share its KV blocks.
    preemption
        Whether preempted requests are recomputed or swapped to host memory.
    swap_blocks
        KV blocks that host memory has room for; None takes as many as the pool has.
    """

    prefix_cache: bool = False
    preemption: Preemption = "recompute"
    swap_blocks: int | None = None

    def chosen(self) -> dict[str, bool | str | int | None]:
        """What was chosen differently from the default, for the record of a run."""
        default = asdict(KVOptions())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


NO_OPTIONS = KVOptions()


class KVBlocks(Protocol):
    """How large a KV cache is: a `BlockPool` says so, and so does an `EngineConfig`."""

    @property
    def blocks(self) -> int:
        """KV blocks."""
        ...

    @property
    def block_size(self) -> int:
        """Positions in a block."""
        ...


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything that decides how a workload is served, beside the model, the policy and the workload.

    Parameters
    ----------
    slots
        Requests that can run at the same time.
    blocks, block_size
        The KV pool: its blocks, and the positions in each.
    kv
        Prefix cache and swapping.
    lag
        Asynchronous scheduling: 0, or 1 to plan one iteration ahead of the tokens that the host has seen.
    backend
        What computes: one of `BACKENDS`. "sdpa" launches every pass eagerly, with PyTorch's attention; "graphs" replays
        CUDA graphs with the Triton kernels and FlashAttention (on a CPU: the same passes, uncaptured, with PyTorch's
        attention).
    compiled
        Whether torch.compile works on the passes that become graphs.
    context_limit
        The most positions that a request may have; None takes what the longest request of the workload needs.
    ignore_generation_config
        Serve the model without what its generation config does to logits, END excepted.

    Raises
    ------
    CbvizError
        A value that is not one of these; CapacityError for a size out of bounds.
    """

    slots: int
    blocks: int
    block_size: int
    kv: KVOptions = NO_OPTIONS
    lag: int = 0
    backend: Backend = "sdpa"
    compiled: bool = False
    context_limit: int | None = None
    ignore_generation_config: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, most in (("slots", MOST_SLOTS), ("blocks", MOST_BLOCKS), ("block_size", MOST_BLOCK_SIZE)):
            put(self, name, whole(name, getattr(self, name), 1, most, error=CapacityError))
        if self.context_limit is not None:
            put(self, "context_limit", whole("context_limit", self.context_limit, 1, MOST_TOKENS, error=CapacityError))
        if type(self.kv) is not KVOptions:
            raise CbvizError(f"kv must be a KVOptions, not {shown(self.kv)}.")
        put(self, "lag", whole("lag", self.lag, 0, 1, error=CbvizError))
        put(self, "backend", one_of("backend", self.backend, BACKENDS, error=CbvizError))
        for name in ("compiled", "ignore_generation_config"):
            put(self, name, flag(name, getattr(self, name), error=CbvizError))

    @property
    def graphs(self) -> bool:
        """Whether iterations run as CUDA graphs."""
        return self.backend == "graphs"
