"""Schedulers that transformers makes for us: one that reports its batches, one that also follows a cbviz policy.

transformers makes its scheduler itself, from `SCHEDULER_MAPPING`; a type that the mapping does not know silently
becomes first in, first out. So ours are registered for one run, and the class of the scheduler that was made is checked
(`cbviz.adapters.transformers_cb.recording`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from transformers.generation.continuous_batching import scheduler as theirs
from transformers.generation.continuous_batching.requests import RequestStatus

from cbviz.adapters.driving import Driver, stuck, view_of
from cbviz.errors import AdapterError
from cbviz.policies import RequestView

TYPE_PREFIX = "cbviz:"
"""Of the scheduler types that are registered for a run."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One entry of a batch: its state object, and the positions cached before the pass."""

    state: Any
    start: int
    tokens: int


class Reporting:
    """What a scheduler of transformers reports, mixed into its class.

    `schedule_batch` is called several times before a pass when memory is short; `last_batch` is the last result.
    """

    last_batch: tuple[Scheduled, ...] = ()

    def schedule_batch(self, token_budget: int, cache_budget: int) -> Any:
        """The engine's own decision, kept for the recording."""
        decided = super().schedule_batch(token_budget, cache_budget)  # type: ignore[misc]
        batch = decided[0] or ()
        self.last_batch = tuple(Scheduled(each.state, each.state.position_offset, each.query_length) for each in batch)
        return decided


def reporting(base: type) -> type:
    """A subclass of one of transformers' schedulers that reports its batches.

    Parameters
    ----------
    base
        A class of `SCHEDULER_MAPPING`.

    Returns
    -------
    type
        The subclass, to be registered.
    """
    return type(f"Reporting{base.__name__}", (Reporting, base), {})


def driven(driver: Driver, block_size: int, total_blocks: int, slots: int, numbers: dict[str, int]) -> type:
    """A scheduler that asks a cbviz policy which requests to admit, in which order, and where to cut chunks.

    Parameters
    ----------
    driver
        The policy.
    block_size, total_blocks, slots
        What the policy sees of the cache and the batch.
    numbers
        transformers' request id → ours.

    Returns
    -------
    type
        The class, to be registered.
    """

    class Policy(theirs.FIFOScheduler):  # type: ignore[misc]
        """transformers' own allocation and bookkeeping, in the policy's order."""

        def reset(self) -> None:
            super().reset()
            self._chunk: dict[str, int] = {}
            self._passes = 0
            self._last_admission: int | None = None
            self._admitted: dict[str, int] = {}
            self._began = time.perf_counter()

        def schedule_batch(self, token_budget: int, cache_budget: int) -> Any:
            running = list(self.active_requests.values())
            waiting = [self.waiting_requests[name] for name in self.waiting_requests_order]
            states = {numbers[state.request_id]: state for state in (*running, *waiting)}
            view = view_of(
                iteration=self._passes,
                now=time.perf_counter() - self._began,
                slots=slots,
                waiting=[self._seen(state) for state in waiting],
                running=[self._seen(state) for state in running],
                total_blocks=total_blocks,
                block_size=block_size,
                context_limit=total_blocks * block_size,
                last_admission=self._last_admission,
            )
            plan = driver.plan(view)
            candidates = [*running, *(states[entry.request] for entry in plan.admit)]
            if not candidates and waiting:
                raise stuck(driver.engine, driver.policy, len(waiting))
            self._chunk = {states[request].request_id: tokens for request, tokens in plan.chunk.items()}
            wanted = {
                request.id: plan.chunk.get(request.id, request.lacks)
                for request in (*view.running, *view.waiting)
                if states[request.id] in candidates
            }
            gone: set[str] = set()
            chosen, starved, *sizes = self._process_candidates(candidates, token_budget, cache_budget, gone)
            self._cleanup_waiting_queue(gone)
            got = {numbers[each.state.request_id]: each.query_length for each in chosen}
            if starved or got != wanted:
                raise AdapterError(
                    f"{driver.engine} did not follow policy {driver.policy.name!r} in pass {self._passes}: it takes in "
                    f"{got} tokens by request where the plan has {wanted}; give it a larger max_batch_tokens, or more "
                    "pages."
                )
            if plan.admit:
                self._last_admission = self._passes
                self._admitted.update((states[entry.request].request_id, self._passes) for entry in plan.admit)
            self._passes += bool(chosen)
            return chosen, *sizes

        def _schedule_request(self, state: Any, tokens: list[int], token_budget: int, gone: set[str]) -> None:
            limit = self._chunk.get(state.request_id, token_budget)
            super()._schedule_request(state, tokens, min(token_budget, limit), gone)

        def _seen(self, state: Any) -> RequestView:
            prompt = len(state.initial_tokens)
            lacks = 1 if state.status == RequestStatus.DECODING else len(state.remaining_prefill_tokens)
            generated = state.generated_len()
            return RequestView(
                id=numbers[state.request_id],
                arrival=max(0.0, state.created_time - self._began),
                prompt_tokens=prompt,
                max_new_tokens=state.max_new_tokens,
                generated=generated,
                computed=prompt + generated - lacks,
                slot=0 if state.request_id in self.active_requests else None,
                admitted=self._admitted.get(state.request_id),
            )

    return reporting(Policy)


@contextmanager
def registered(name: str, scheduler: type) -> Iterator[str]:
    """Register a scheduler for as long as the block runs.

    Parameters
    ----------
    name
        Its type, without `TYPE_PREFIX`.
    scheduler
        The class.

    Yields
    ------
    str
        The type for `ContinuousBatchingConfig.scheduler_type`.
    """
    key = TYPE_PREFIX + name
    theirs.SCHEDULER_MAPPING[key] = scheduler
    try:
        yield key
    finally:
        del theirs.SCHEDULER_MAPPING[key]
