"""How an engine is set up: one configuration, from which `cbviz.run.build` makes pools, executors and engines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, Protocol, get_args

from cbviz.checks import flag, one_of, shown, whole
from cbviz.errors import CapacityError, CbvizError, EngineError
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

    Raises
    ------
    CbvizError
        A value that is not one of these: CapacityError for the blocks and the cache, EngineError for the preemption.
    """

    prefix_cache: bool = False
    preemption: Preemption = "recompute"
    swap_blocks: int | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "prefix_cache", flag("prefix_cache", self.prefix_cache, error=CapacityError))
        put(self, "preemption", one_of("preemption", self.preemption, get_args(Preemption), error=EngineError))
        if self.swap_blocks is not None:
            put(self, "swap_blocks", whole("swap_blocks", self.swap_blocks, 1, MOST_BLOCKS, error=CapacityError))

    def chosen(self) -> dict[str, bool | str | int | None]:
        """What was chosen differently from the default, for the record of a run."""
        default = asdict(KVOptions())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


NO_OPTIONS = KVOptions()
MOST_DRAFTS = 64
"""The most tokens that a pass may guess for one request."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """How tokens are guessed ahead: what followed the last `n_max` … `n_min` tokens when they came before.

    Prompt lookup decoding (Saxena, 2023). The names in vLLM: `num_speculative_tokens`, `prompt_lookup_max`,
    `prompt_lookup_min`.

    Parameters
    ----------
    k
        The most tokens that are guessed for a request in a pass, 1 to `MOST_DRAFTS`.
    n_max, n_min
        How many of the last tokens must have come before: the longest n-gram that is looked for, and the shortest.

    Raises
    ------
    CbvizError
        A value out of bounds.
    """

    k: int = 4
    n_max: int = 3
    n_min: int = 2

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "k", whole("k, the drafts of a pass,", self.k, 1, MOST_DRAFTS, error=CbvizError))
        put(self, "n_max", whole("n_max", self.n_max, 1, MOST_DRAFTS, error=CbvizError))
        put(self, "n_min", whole("n_min", self.n_min, 1, self.n_max, error=CbvizError))

    @classmethod
    def of(cls, given: int | Speculation | None) -> Speculation | None:
        """What a caller means by `speculate=…`.

        Parameters
        ----------
        given
            How many tokens to draft, or a rule; 0 or None drafts none.

        Returns
        -------
        Speculation or None
            The rule, None without drafts.

        Raises
        ------
        CbvizError
            It is none of these.
        """
        if given is None or type(given) is cls:
            return given
        drafts = whole("speculate", given, 0, MOST_DRAFTS, error=CbvizError)
        return cls(drafts) if drafts else None


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
    speculation
        How tokens are guessed ahead, so that a pass may give a request several; None guesses none. It needs lag 0 and
        the backend "sdpa": a CUDA graph is captured for one token a slot.

    Raises
    ------
    CbvizError
        A value that is not one of these, or speculation with what it cannot go with; CapacityError for a size out of
        bounds.
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
    speculation: Speculation | None = None

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
        put(self, "speculation", Speculation.of(self.speculation))
        if self.speculation is not None and self.graphs:
            raise CbvizError(
                "backend 'graphs' cannot speculate: a CUDA graph is captured for one token a slot; backend='sdpa' "
                "checks drafts in eager passes."
            )
        if self.speculation is not None and self.lag:
            raise CbvizError(
                "speculation needs lag 0: the host must have seen the last token to guess what follows it."
            )

    @property
    def graphs(self) -> bool:
        """Whether iterations run as CUDA graphs."""
        return self.backend == "graphs"
