"""The engine: a loop over checked arguments, requests that go in and outputs that come out.

`loop` runs the iterations; `intake` takes requests in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from cbviz.checks import as_int, one_of, shown, whole
from cbviz.config import Preemption
from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Executor
from cbviz.core.loop import Loop
from cbviz.core.scheduler_state import SchedulerState
from cbviz.core.swap import SwapSpace
from cbviz.errors import CapacityError, EngineError
from cbviz.events import Iteration
from cbviz.limits import MOST_SLOTS
from cbviz.policies import get
from cbviz.policies.base import Policy
from cbviz.workload.checks import BEYOND_INT32
from cbviz.workload.request import ArrivalUnit, Request, only_requests


class Engine(Loop):
    """Serves requests on a fixed number of slots, one iteration at a time.

    Parameters
    ----------
    executor
        What computes: a model, or nothing at all.
    policy
        Decides which requests run: any `Policy`.
    slots
        Requests that can run at the same time, at least 1.
    pool
        The KV blocks. It must be empty; the engine owns it from here on.
    lag
        Asynchronous scheduling. 0: the host sees every token before it plans the next iteration. 1: it plans one
        iteration ahead of the tokens that it has seen, so that the device never waits; an END is then seen one
        iteration late, and its slot is held for that iteration. Ends by length are known ahead and cost nothing.
    arrival_unit
        Whether `Request.arrival` counts seconds on the lane's clock or iterations.
    preemption
        What becomes of the keys and values of a preempted request: "recompute" discards them, "swap" copies them to
        host memory and back. Where host memory has no room for all that a request has, it is recomputed after all.
    swap_blocks
        KV blocks that host memory has room for; None takes as many as the pool has. Only with "swap".

    Raises
    ------
    CapacityError
        Slots, a pool or swap blocks that make no sense, or more host memory than there is.
    EngineError
        Another lag or way to preempt than these.

    Notes
    -----
    `step()` is atomic: an interrupt waits for the iteration in flight. A policy that fails, or plans for 30 seconds,
    changes nothing. `submit` and `cancel` may be called from any thread and take effect before the next iteration.

    Examples
    --------
    >>> from cbviz.core import Engine, NullExecutor
    >>> from cbviz.core.block_pool import BlockPool
    >>> from cbviz.policies import Continuous
    >>> from cbviz.workload import Request
    >>> work = [Request(i, prompt=(1, 2), max_new_tokens=2 + i, output_length=2 + i) for i in range(3)]
    >>> engine = Engine(NullExecutor(seconds=1.0), Continuous(), slots=2, pool=BlockPool(8, 4))
    >>> [event.request.tolist() for event in engine.run(work)]
    [[0, 1], [0, 1], [2, 1], [2, -1], [2, -1], [2, -1]]
    """

    def __init__(
        self,
        executor: Executor,
        policy: Policy,
        *,
        slots: int,
        pool: BlockPool,
        lag: int = 0,
        arrival_unit: ArrivalUnit = "seconds",
        preemption: Preemption = "recompute",
        swap_blocks: int | None = None,
    ) -> None:
        slots = whole("slots", slots, 1, MOST_SLOTS, error=CapacityError)
        if as_int(lag) not in (0, 1):
            raise EngineError(f"lag must be 0 or 1, not {shown(lag)}.")
        if pool.owners:
            raise CapacityError("the block pool is in use; give every engine a pool of its own.")
        preemption = one_of("preemption", preemption, get_args(Preemption), error=EngineError)
        if preemption == "recompute" and swap_blocks is not None:
            raise EngineError("swap_blocks is for preemption='swap'; recomputed requests need no host memory.")
        checked_policy = get(policy)
        context_limit = min(executor.context_limit, pool.blocks * pool.block_size)
        if pool.blocks_for(context_limit) * pool.block_size >= BEYOND_INT32:
            raise CapacityError(
                f"a request could have {context_limit:,} positions in {pool.blocks:,} blocks of "
                f"{pool.block_size:,}; its blocks must hold fewer than 2**31."
            )
        self.swap: SwapSpace | None = None
        self.block_bytes = 0
        """Bytes with which a KV block is swapped; 0 without swapping."""
        if preemption == "swap":
            self.swap = SwapSpace(pool.blocks if swap_blocks is None else swap_blocks, pool.block_size)
            self.block_bytes = executor.provide_swap(self.swap.pool.blocks)
        state = SchedulerState(slots, pool, context_limit, self.swap)
        super().__init__(
            executor, checked_policy, state, context_limit=context_limit, lag=lag, arrival_unit=arrival_unit
        )
        self.pool = pool
        self.context_limit = context_limit
        self.slots, self.outputs = state.slots, state.outputs

    @property
    def policy(self) -> Policy:
        """Decides which requests run. Another one takes over with the next plan; PolicyError if it is no policy."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = get(policy)

    # ------------------------------------------------------------------ requests in and out

    def submit(self, *requests: Request) -> None:
        """Hand over requests: all of them, or none if one is refused.

        Parameters
        ----------
        requests
            With ids that the engine has not had before.

        Raises
        ------
        WorkloadError
            No `Request`, an id that was used before, or a prompt with a token that the model does not know.
        CapacityError
            A request that can never fit the context or the pool.
        """
        self._intake.submit(requests)

    def cancel(self, request: int) -> None:
        """End a request's output where it is. Cancelling one that has ended changes nothing.

        Parameters
        ----------
        request
            Its id.

        Raises
        ------
        WorkloadError
            There is no such request.
        """
        self._intake.cancel(request)

    def output(self, request: int) -> list[int]:
        """The output of a request so far.

        Parameters
        ----------
        request
            Its id; KeyError if there is no such request.

        Returns
        -------
        list of int
            Token ids; empty before its first token.
        """
        if request in self.state.requests:
            return [int(token) for token in self.outputs.of(self.state.requests[request].row)]
        if request in self._intake.known:
            return []
        raise KeyError(request)

    def run(self, requests: Iterable[Request] = ()) -> Iterator[Iteration]:
        """Submit requests and yield one `Iteration` after the other until nothing is left to do. See `step`."""
        self.submit(*only_requests(requests))
        while (event := self.step()) is not None:
            yield event
