"""vLLM's queue and settings, set for one pass of a plan and put back, with no request lost if vLLM has changed.

What of it vLLM refuses, it refuses before anything has been taken out of its queue: settings are set first, and the
queue's methods are tried on an empty queue of the same class. If it fails later, `undo` brings back all that waited.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from cbviz.errors import AdapterError

log = logging.getLogger("cbviz")


class Arrangement:
    """One pass of a plan.

    Parameters
    ----------
    scheduler
        vLLM's, with `waiting`, `max_num_scheduled_tokens` and `scheduler_config.long_prefill_token_threshold`.
    """

    def __init__(self, scheduler: Any) -> None:
        self._them = scheduler
        self._before: list[tuple[Any, str, Any]] = []
        self._waited: list[Any] = []
        self._others: list[Any] = []
        self._missing = False

    def make(self, admitted: list[Any], budget: int, threshold: int) -> bool:
        """Leave only the admitted requests in the queue, in their order, and set the budget and the threshold.

        Parameters
        ----------
        admitted
            Requests of the queue.
        budget, threshold
            Of the pass.

        Returns
        -------
        bool
            True; what vLLM does not allow is an error of its own, or an AdapterError, and `undo` must follow.
        """
        them = self._them
        self._set(them.scheduler_config, "long_prefill_token_threshold", threshold)
        self._set(them, "max_num_scheduled_tokens", budget)
        self._waited = list(them.waiting)
        if _same(self._waited, admitted):
            return True
        _try_methods(them.waiting, self._waited)
        chosen = {id(request) for request in admitted}
        self._others = [request for request in self._waited if id(request) not in chosen]
        self._missing = True
        _emptied_and_filled(them.waiting, admitted)
        if not _same(them.waiting, admitted):
            raise AdapterError("vLLM's queue does not keep the order in which it was filled")
        return True

    def undo(self) -> None:
        """Bring everything back to what it was before `make`."""
        try:
            self._put_settings_back()
        finally:
            if self._missing:
                _fill(self._them.waiting, self._waited)

    def put_back(self) -> None:
        """After the pass: settings as before, and the others behind those that were preempted or not admitted."""
        try:
            self._put_settings_back()
        finally:
            if self._others:
                queue = self._them.waiting  # vLLM may have made another one meanwhile
                _fill(queue, [*queue, *self._others])

    def _set(self, holder: Any, name: str, value: int) -> None:
        before = getattr(holder, name)
        if before != value:
            setattr(holder, name, value)
            self._before.append((holder, name, before))

    def _put_settings_back(self) -> None:
        while self._before:
            setattr(*self._before.pop())


def _same(queue: Iterable[Any], wanted: Iterable[Any]) -> bool:
    return list(map(id, queue)) == list(map(id, wanted))


def _try_methods(queue: Any, waiting: list[Any]) -> None:
    """Try what a rearrangement needs on an empty queue of the same class. A queue must leave requests as they are."""
    some = waiting[:2]
    trial = type(queue)()
    for request in some:
        trial.add_request(request)
    if not _same(trial, some):
        raise AdapterError("vLLM's queue does not keep the order in which it was filled")
    trial.remove_requests(some)
    if list(trial):
        raise AdapterError("vLLM's queue does not let go of the requests that it is asked to remove")


def _emptied_and_filled(queue: Any, wanted: list[Any]) -> None:
    queue.remove_requests(list(queue))
    for request in wanted:
        queue.add_request(request)


def _added(queue: Any, wanted: list[Any]) -> None:
    for request in wanted[len(list(queue)) :]:
        queue.add_request(request)


def _cleared_and_extended(queue: Any, wanted: list[Any]) -> None:
    queue.clear()
    queue.extend(wanted)


def _fill(queue: Any, wanted: list[Any]) -> None:
    """Let a queue hold exactly these requests, by one way or another. Raises what went wrong if a way was refused."""
    ways: tuple[Callable[[Any, list[Any]], None], ...] = (_added, _emptied_and_filled, _cleared_and_extended)
    refused: Exception | None = None
    for way in ways:
        if _same(queue, wanted):
            break
        try:
            way(queue, wanted)
        except Exception as error:
            refused = refused or error
    lost = {id(request) for request in wanted} - {id(request) for request in queue}
    if lost:
        names = ", ".join(str(request.request_id) for request in wanted if id(request) in lost)
        log.error("cbviz: vLLM's queue did not take back %d requests: %s.", len(lost), names)
    if refused is not None:
        raise refused
    if not _same(queue, wanted):
        raise AdapterError("vLLM's queue does not keep the order in which it was filled")
