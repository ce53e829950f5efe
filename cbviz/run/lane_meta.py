"""The metadata of a lane's trace: policy, engine, model, device and versions."""

from __future__ import annotations

import platform
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import torch
import transformers

from cbviz._version import __version__
from cbviz.config import EngineConfig
from cbviz.core import Engine, Executor
from cbviz.core.speculation import DraftingExecutor
from cbviz.eager.logit_rules import NO_RULES, LogitRules
from cbviz.models import LoadedModel
from cbviz.models.device import device_name
from cbviz.policies import identity
from cbviz.trace import TraceMeta
from cbviz.trace.trace import SPECULATION
from cbviz.workload import Workload


def lane_meta(loaded: LoadedModel, engine: Engine, config: EngineConfig, workload: Workload, clock: str) -> TraceMeta:
    """The metadata of a lane's trace. `clock` is "alone" or "lane" (see `cbviz.run.lane.Lane`)."""
    name, summary = identity(engine.policy)
    return TraceMeta(
        policy=name,
        policy_summary=summary,
        slots=config.slots,
        block_size=config.block_size,
        total_blocks=config.blocks,
        block_bytes=engine.block_bytes,
        model=loaded.name,
        device=device_name(loaded.device),
        dtype=str(loaded.dtype).removeprefix("torch."),
        workload=workload.name,
        seed=workload.seed,
        arrival_unit=workload.arrival_unit,
        clock=clock,
        lag=engine.lag,
        extra=policy_parameters(engine.policy)
        | _circumstances(loaded, engine.executor)
        | config.kv.chosen()
        | ({SPECULATION: asdict(config.speculation)} if config.speculation is not None else {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
    )


def policy_parameters(policy: object) -> dict[str, Any]:
    """The parameters of a dataclass policy that are plain values, to be recorded with the run."""
    if not is_dataclass(policy) or isinstance(policy, type):
        return {}
    values = {field.name: getattr(policy, field.name) for field in fields(policy) if field.name != "name"}
    plain = {name: value for name, value in values.items() if isinstance(value, int | float | str | None)}
    return {name: str(value) if isinstance(value, str) else value for name, value in plain.items()}


def _circumstances(loaded: LoadedModel, executor: Executor) -> dict[str, Any]:
    """What else determines a run.

    The context limit, how the weights are stored if not in the dtype, and the logit rules if any.
    """
    weights = {"weights": loaded.weights} if loaded.weights else {}
    computes = executor.inner if isinstance(executor, DraftingExecutor) else executor
    rules: LogitRules = getattr(computes, "rules", NO_RULES)
    return {"context_limit": executor.context_limit, **weights, **({"logit_rules": str(rules)} if rules else {})}


def versions() -> dict[str, str]:
    """Versions of the packages that a run depends on."""
    return {
        "cbviz": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
