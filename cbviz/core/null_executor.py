"""An executor that computes nothing: to study schedules, and to test everything around a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cbviz.core.executor import Result, Step


class NullExecutor:
    """Answers every step at once; its tokens are a fixed function of slot content and position.

    Parameters
    ----------
    context_limit
        The most positions of a request.
    seconds
        None leaves timing to the engine; a number, or a function of the step, makes the lane's clock virtual.
    end_tokens
        Never produced here; requests of this executor end by length.
    """

    takes_drafts = True
    """It looks no token up, so guesses change nothing."""

    def __init__(
        self,
        context_limit: int = 4096,
        seconds: float | Callable[[Step], float] | None = None,
        end_tokens: tuple[int, ...] = (),
    ) -> None:
        self.context_limit = context_limit
        self.vocabulary: int | None = None  # nothing looks a token up
        self.end_tokens = end_tokens
        self._seconds = seconds
        self._first = np.zeros(0, np.int64)

    def provide_swap(self, blocks: int) -> int:
        """Nothing is copied, so a block has 0 bytes. See `Executor`."""
        return 0

    def launch(self, step: Step) -> Result:
        """Compute the tokens at once: the ticket is the result. See `Executor`."""
        if len(self._first) < len(step.tables):
            self._first = np.zeros(len(step.tables), np.int64)
        for seat in step.seats:
            self._first[seat.slot] = int(seat.tokens[0])
        # Depends on the request and the position alone, so that outputs are the same under every policy.
        tokens = (self._first[step.slot] * 31 + (step.start + step.count) * 7) % 997 + 3
        seconds = self._seconds(step) if callable(self._seconds) else self._seconds
        return Result(tokens.astype(np.int32), seconds)

    def collect(self, ticket: Result) -> Result:
        """See `Executor`."""
        return ticket
