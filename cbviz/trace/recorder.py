"""Recording: `tape` keeps every iteration as a row of arrays, and `fold` makes a trace of them when one is asked for.

During a run, recording is a few copies an iteration; all that costs more is done once, in `Recorder.trace`.
"""

from __future__ import annotations

from collections.abc import Iterable

from cbviz.checks import shown
from cbviz.errors import TraceError
from cbviz.events import Mark
from cbviz.limits import LONGEST_SECONDS, MOST_ID, MOST_TOKENS
from cbviz.trace.check import check, check_meta
from cbviz.trace.fold import Detokenize, fold
from cbviz.trace.tape import Tape
from cbviz.trace.trace import Trace, TraceMeta
from cbviz.workload.request import Request


class Recorder(Tape):
    """Folds the iterations of one run into a `Trace`. One thread records; any thread may ask for the trace meanwhile.

    Parameters
    ----------
    meta
        Where the run comes from.
    requests
        The requests of the run, in order of submission; `add_requests` adds those that come later.

    Raises
    ------
    TraceError
        Metadata that make no sense, or two requests with the same id.
    """

    def __init__(self, meta: TraceMeta, requests: Iterable[Request] = ()) -> None:
        check_meta(meta)
        super().__init__(meta.slots, meta.total_blocks)
        self.meta = meta
        self._requests: dict[int, Request] = {}
        self.add_requests(requests)

    def add_requests(self, requests: Iterable[Request]) -> None:
        """Add requests that came during the run: all of them, or none if one is refused.

        Parameters
        ----------
        requests
            With ids that the recorder does not have yet.

        Raises
        ------
        TraceError
            An id is known already, or no trace can hold a request's id, arrival or limit.
        """
        fresh: dict[int, Request] = {}
        for request in requests:
            if request.id in self._requests or request.id in fresh:
                raise TraceError(f"request {request.id} is recorded twice; ids must be unique in a run.")
            check_recordable(request)
            fresh[request.id] = request
        self._requests.update(fresh)

    def add_cancelled(self, marks: Iterable[Mark]) -> None:
        """Record cancellations after the last iteration; the next one, if there is one, reports them itself.

        Parameters
        ----------
        marks
            The cancelled requests. Those that were recorded already change nothing.
        """
        iterations, untold = self._seen
        known = {mark.request for mark in untold}
        self._seen = (iterations, (*untold, *(mark for mark in marks if mark.request not in known)))

    def trace(self, pieces: Detokenize | None = None) -> Trace:
        """Everything recorded so far as a checked trace. Only reads: any thread may ask, as often as it likes.

        Parameters
        ----------
        pieces
            Turns the output tokens of one request into the text that each of them added (a list as long). None where
            the model has no tokenizer.

        Returns
        -------
        Trace
            Of the iterations so far.

        Raises
        ------
        TraceError
            What was recorded contradicts itself: an unknown request, a token for a request in no slot, and the like.
        """
        iterations, untold = self._seen
        rows = self._rows[:iterations]  # another thread may continue to record meanwhile
        trace = fold(self.meta, self._requests.values(), self._chunks, rows, untold, pieces)
        check(trace)
        return trace


def check_recordable(request: Request) -> None:
    """Raise TraceError for a request whose id, arrival or limit no trace can hold."""
    if request.id > MOST_ID:
        raise TraceError(f"request {shown(request.id)} cannot be recorded: ids must be below 2**31.")
    if request.arrival > LONGEST_SECONDS:
        raise TraceError(
            f"request {request.id} cannot be recorded: it arrives at {request.arrival:g}, and times go up to "
            f"{LONGEST_SECONDS:g}."
        )
    if request.max_new_tokens > MOST_TOKENS:
        raise TraceError(f"request {request.id} cannot be recorded: max_new_tokens must be below 2**31.")
