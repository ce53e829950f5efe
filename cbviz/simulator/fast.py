"""Which policies can be served from event to event, and the call of their kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbviz.core.interrupts import interrupts_deferred
from cbviz.policies import Continuous, Orca, Policy, Sarathi, Static, VllmV1, identity
from cbviz.simulator import skip
from cbviz.simulator.cost import CostModel, Extent
from cbviz.simulator.forecast import FloatColumn, Forecast, IntColumn
from cbviz.simulator.work import Work

Kernel = Callable[..., bool]
QUANTUM_COMPILED, QUANTUM_PLAIN = 200_000, 5_000
"""Requests between two looks at interrupts and progress: well under a second."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Slots and KV blocks of the simulated engine."""

    slots: int
    blocks: int
    block_size: int
    context_limit: int
    """The most positions of a request."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One simulation: a kernel, its columns by name, and what follows them."""

    kernel: Kernel
    columns: dict[str, Any]
    more: tuple[Any, ...]


def can_skip(policy: Policy, work: Work, memory: Memory) -> bool:
    """Whether a kernel serves this policy and work.

    Arrivals in iterations, requests that do not fit, priorities, and lengths that do not cover every request are left
    to the loop, which serves them or says what is wrong.
    """
    kind = type(policy)
    if kind not in (Static, Continuous, Orca, VllmV1, Sarathi):
        return False
    if not plain_work(work, memory):
        return False
    if int(work.output_tokens.sum() + len(work)) * len(work) >= 2**62:
        return False
    if isinstance(policy, VllmV1):
        return policy.priority is None
    if isinstance(policy, Static | Continuous | Orca):
        need = reserved_blocks(policy, work, memory)
        return need is not None and bool((need <= memory.blocks).all())
    return True


def plain_work(work: Work, memory: Memory) -> bool:
    """Whether arrivals are in seconds and every request fits; the engine's loop serves the rest, or refuses it."""
    if work.arrival_unit != "seconds" and work.arrival[-1] > 0:
        return False
    return work.longest <= min(memory.context_limit, memory.blocks * memory.block_size)


def reserved_blocks(policy: Policy, work: Work, memory: Memory) -> IntColumn | None:
    """int64 [requests]: blocks that each request takes at admission; None if the policy's lengths are no true ones."""
    output = work.max_new_tokens
    if isinstance(policy, Orca):
        if policy.lengths is not None:
            given = [policy.lengths.get(request, 0) for request in work.id.tolist()]
            output = np.array(given, np.int64)
            if (output < work.output_tokens).any():
                return None
        if policy.reserve == "maximum":
            output = np.full(len(work), memory.context_limit)
        elif policy.reserve == "power_of_two":
            output = np.array([1 << (int(n) - 1).bit_length() for n in output.tolist()], np.int64)
    positions = np.minimum(work.prompt_tokens + output, memory.context_limit)
    blocks: IntColumn = -(-positions // memory.block_size)
    return blocks


def skipping_forecast(
    policy: Policy,
    work: Work,
    cost: CostModel,
    memory: Memory,
    lag: int,
    *,
    clients: int | None = None,
    plain: bool | None = None,
    completed: Callable[[int], None] = lambda done: None,
) -> tuple[Forecast, bool] | None:
    """Serve work from event to event.

    Parameters
    ----------
    policy, work, memory
        For which `can_skip` is true.
    cost
        What an iteration costs.
    lag
        0 or 1.
    clients
        Requests in flight in a closed loop; None for an open one.
    plain
        True never compiles, False does where numba is installed, and None where there is enough to serve, too.
    completed
        Called now and then with the number of completed requests.

    Returns
    -------
    (Forecast, bool) or None
        What was served, and whether an interrupt ended it; None if no request advances any more, which the loop
        explains.
    """
    from cbviz.jit import compiled, compiled_for
    from cbviz.simulator.worth_compiling import worth_compiling

    serving = _serving(policy, work, memory)
    if plain is None:
        plain = not worth_compiling(serving.kernel, len(work))
    fast = None if plain else compiled(serving.kernel)
    kernel, columns = (fast or serving.kernel), serving.columns
    ints, floats = np.zeros(skip.INTS, np.int64), np.zeros(skip.FLOATS)
    ints[skip.OPENED] = len(work)
    if clients is not None and clients < len(work):
        ints[skip.OPENED] = clients
        columns["arrival"] = np.where(np.arange(len(work)) < clients, 0.0, np.inf)
    ints[skip.FREE_SLOTS], ints[skip.FREE_BLOCKS] = memory.slots, memory.blocks
    state: list[Any] = [ints, floats]
    if fast is None:
        columns, state = {name: column.tolist() for name, column in columns.items()}, [ints.tolist(), floats.tolist()]
    quantum = QUANTUM_PLAIN if fast is None else QUANTUM_COMPILED
    arguments = (*columns.values(), *state, *cost.coefficients, lag, quantum, *serving.more)
    done, stopped, compiling = False, False, 0.0
    try:
        if fast is not None:
            compiling = compiled_for(fast, arguments)
        while not done and not state[0][skip.STUCK]:
            with interrupts_deferred(lambda: False):
                done = kernel(*arguments)
            completed(int(state[0][skip.COMPLETED]))
    except KeyboardInterrupt:
        stopped = True
    counts = [int(count) for count in state[0]]
    if counts[skip.STUCK]:
        return None
    return Forecast(
        id=work.id,
        prompt_tokens=work.prompt_tokens,
        output_tokens=work.output_tokens,
        preemptions=np.asarray(columns.get("preemptions", np.zeros(len(work), np.int64)), np.int64),
        arrival=_arrived(columns["arrival"]),
        admitted=np.asarray(columns["admitted"], np.float64),
        first_token=np.asarray(columns["first"], np.float64),
        finished=np.asarray(columns["finished"], np.float64),
        policy=identity(policy)[0],
        slots=memory.slots,
        cost=cost.name,
        iterations=counts[skip.ITERATION],
        seconds=float(state[1][skip.NOW]),
        useful_slot_iterations=counts[skip.USEFUL],
        reached=Extent(*counts[skip.MOST_DECODES : skip.MOST_CONTEXT + 1]),
        how="skipping" if fast is None else "compiled",
        compile_seconds=compiling,
    ), stopped


def _arrived(column: Any) -> FloatColumn:
    """Arrivals; NaN for a request that no client had sent yet."""
    arrival = np.asarray(column, np.float64)
    return np.where(np.isinf(arrival), np.nan, arrival)


def _serving(policy: Policy, work: Work, memory: Memory) -> Serving:
    """The kernel of a policy and its arguments."""
    n = len(work)
    columns: dict[str, Any] = {
        "arrival": work.arrival.copy(),  # a closed loop writes when requests arrive, and kernels are compiled for both
        "prompt": work.prompt_tokens,
        "output": work.output_tokens,
    }
    times = {name: np.full(n, np.nan) for name in ("admitted", "first", "finished")}
    if isinstance(policy, VllmV1 | Sarathi):
        from cbviz.simulator.growing import serve_growing

        columns |= times
        columns |= {
            name: np.zeros(n, np.int64)
            for name in ("computed", "generated", "blocks", "ends", "highest", "preemptions")
        }
        columns["running"] = np.zeros(memory.slots, np.int64)
        columns["returned"] = np.zeros(memory.slots, np.int64)
        rule: tuple[Any, ...]
        if isinstance(policy, Sarathi):
            rule = (True, policy.chunk_size, 0, True, int(policy.watermark * memory.blocks))
        else:
            threshold = policy.long_prefill_token_threshold
            rule = (False, policy.max_num_batched_tokens, threshold, policy.reserve_full_sequence, 0)
        return Serving(serve_growing, columns, (memory.block_size, *rule))
    columns["need"] = reserved_blocks(policy, work, memory)
    columns |= times
    if isinstance(policy, Static):
        from cbviz.simulator.batches import serve_batches

        return Serving(serve_batches, columns, (policy.run_to or 1, memory.block_size, memory.context_limit))
    from cbviz.simulator.reserving import serve_reserving

    columns["keys"] = np.zeros(memory.slots, np.int64)
    return Serving(serve_reserving, columns, ())
