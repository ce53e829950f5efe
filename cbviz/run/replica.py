"""One data-parallel replica: a model, an engine and its clock, driven from here or from another process."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cbviz.config import EngineConfig, KVOptions
from cbviz.events import Iteration
from cbviz.models import LoadedModel, as_loaded
from cbviz.policies import Policy
from cbviz.run.build import build_engine, build_executor
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.lane_meta import lane_meta
from cbviz.trace import TraceMeta
from cbviz.workload import Request, Workload


@dataclass(frozen=True, slots=True)
class ReplicaSetup:
    """What every replica is made from.

    Attributes
    ----------
    model
        A name, or a loaded model where the replica runs in this process.
    policy
        A fresh copy for this replica.
    workload
        All requests of the run: they bound block tables and graphs. A replica serves those that it is sent.
    slots, block_size, kv_blocks, prefix_cache
        As for `cbviz.run.replicas.replicate`.
    device, dtype
        As for `cbviz.models.load`.
    clock
        "alone" if nothing else computes on its device, "lane" if it takes turns.
    """

    model: str | LoadedModel
    policy: Policy
    workload: Workload
    slots: int
    block_size: int
    kv_blocks: int | None
    prefix_cache: bool
    device: str | None
    dtype: str | None
    clock: str


class Replica:
    """Serves the requests that it is sent, as far as it is asked to.

    Parameters
    ----------
    setup
        What it is made from.

    Raises
    ------
    CbvizError
        The model cannot be loaded, or does not fit.
    """

    def __init__(self, setup: ReplicaSetup) -> None:
        loaded = as_loaded(setup.model, device=setup.device, dtype=setup.dtype, progress=False)
        cuda = loaded.device.type == "cuda"
        blocks = choose_kv_blocks(
            loaded, setup.workload, slots=setup.slots, block_size=setup.block_size, kv_blocks=setup.kv_blocks
        )
        config = EngineConfig(
            setup.slots,
            blocks,
            setup.block_size,
            kv=KVOptions(prefix_cache=setup.prefix_cache),
            lag=int(cuda),
            backend="graphs" if cuda else "sdpa",
            compiled=cuda,
        )
        self._loaded = loaded
        self._executor = executor = build_executor(loaded, config, setup.workload)
        self._engine = build_engine(executor, setup.policy, config, "seconds")
        self._meta = lane_meta(loaded, self._engine, config, setup.workload, setup.clock)

    def meta(self) -> TraceMeta:
        """The metadata of its trace."""
        return self._meta

    def submit(self, request: Request) -> None:
        """Take a request, which joins the queue when the replica's clock reaches its arrival."""
        self._engine.submit(request)

    def advance(self, until: float = math.inf) -> list[Iteration]:
        """Run iterations until its clock reaches a time or nothing is left to do, and return them."""
        found = []
        if (pause := getattr(self._executor, "pause", None)) is not None:
            pause()  # since it last ran, its clock stood still
        while self._engine.now < until and (event := self._engine.step()) is not None:
            found.append(event)
        return found

    def pieces(self, tokens: list[int]) -> list[str]:
        """The text that each output token added; empty texts where the model has no tokenizer."""
        return [""] * len(tokens) if self._loaded.tokenizer is None else list(self._loaded.pieces(tokens))
