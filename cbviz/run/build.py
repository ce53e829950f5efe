"""From a configuration to pools, executors and engines: the one place that makes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cbviz.checks import one_line
from cbviz.config import EngineConfig
from cbviz.core import Engine, Executor
from cbviz.core.block_pool import BlockPool
from cbviz.core.speculation import SpeculativeEngine
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.eager.logit_rules import NO_RULES, LogitRules
from cbviz.eager.speculative_executor import SpeculativeExecutor
from cbviz.errors import ModelError
from cbviz.models import LoadedModel
from cbviz.policies import Policy
from cbviz.run.progress import Progress
from cbviz.workload import Workload
from cbviz.workload.request import ArrivalUnit

ModelOrGraphs = GraphExecutor | ModelExecutor


def logit_rules(loaded: LoadedModel, config: EngineConfig) -> LogitRules:
    """What is done to logits before a token is chosen."""
    return NO_RULES if config.ignore_generation_config else LogitRules.of(loaded.model)


def build_pool(config: EngineConfig) -> BlockPool:
    """An empty pool of KV blocks: every engine has one of its own."""
    return BlockPool(config.blocks, config.block_size, prefix_cache=config.kv.prefix_cache)


def build_engine(executor: Executor, policy: Policy, config: EngineConfig, arrival_unit: ArrivalUnit) -> Engine:
    """An engine with a pool of its own. `Engine` says what it raises."""
    rule = config.speculation
    kind = Engine if rule is None else partial(SpeculativeEngine, speculation=rule)
    return kind(
        executor,
        policy,
        slots=config.slots,
        pool=build_pool(config),
        lag=config.lag,
        arrival_unit=arrival_unit,
        preemption=config.kv.preemption,
        swap_blocks=config.kv.swap_blocks,
    )


def build_executor(
    loaded: LoadedModel,
    config: EngineConfig,
    workload: Workload,
    captured: Callable[[int, int], None] | None = None,
) -> ModelOrGraphs:
    """Allocate the KV cache of a model, and capture the graphs if the backend has any.

    Parameters
    ----------
    loaded, config
        What computes, and how.
    workload
        What will be served: its longest request and its longest prompt bound block tables and graphs.
    captured
        Called with (done, total) between two graphs; what it raises ends the capture.

    Raises
    ------
    ModelError
        The model uses something that the engine cannot honour, or torch.compile cannot compile its passes.
    CapacityError
        The device's memory is too small after all.
    """
    ends, rules = loaded.end_tokens, logit_rules(loaded, config)
    # Block tables need no more columns than the longest request has blocks.
    limit = min(config.context_limit or workload.longest, loaded.context_limit)
    if not config.graphs:
        kind = ModelExecutor if config.speculation is None else SpeculativeExecutor
        return kind(loaded.model, slots=config.slots, pool=config, end_tokens=ends, limit=limit, rules=rules)
    try:
        return GraphExecutor(
            loaded.model,
            slots=config.slots,
            pool=config,
            lag=config.lag,
            end_tokens=ends,
            limit=limit,
            compiled=config.compiled,
            longest_prompt=max(len(request.prompt) for request in workload),
            progress=captured,
            rules=rules,
        )
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # takes a second to import, and only here it is needed

        if not isinstance(error, TorchDynamoException):
            raise
        raise ModelError(
            f"torch.compile fails here ({one_line(error)}); compiled=False (--no-compile) does without it."
        ) from error


def reports_captures(progress: Progress) -> Callable[[int, int], None]:
    """For `build_executor`: reports to a progress how many shapes are captured, and what takes so long."""
    title, shown = "CUDA graphs", 0

    def captured(done: int, total: int) -> None:
        nonlocal shown
        if not done:
            progress.start(title, total)
        progress.advance(title, done - shown, _captures_note(done, total))
        shown = done

    return captured


def _captures_note(done: int, total: int) -> str:
    """What comes next: the first shape compiles what all need, and that of a single row has code of its own."""
    if not done:
        return "compiling for prompts (a later start finds it done)"
    if done == total - 1:
        return "compiling for a single row"
    return "capturing" if done < total else "ready"
