"""An engine that continues what another one has begun: prompts are read elsewhere, and their keys and values come in.

Prefill and decode on engines of their own, the KV cache handed over between them: DistServe (OSDI'24, §3) and Splitwise
(ISCA'24, §4). The blocks come through host memory, where those of a swapped request wait, too: so policies see them as
`RequestView.swapped`, an admission copies them into the KV cache, and the loop needs nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbviz.core.engine import Engine
from cbviz.core.swap import SwapSpace
from cbviz.errors import EngineError
from cbviz.workload.request import Request


class ReceivingEngine(Engine):
    """An engine with `preemption="swap"` that also takes requests over, with their output so far.

    For each of them the caller reserves host memory (`expect`), fills it while the other engine still holds the blocks,
    and hands the request over once all of it has come (`receive`).
    """

    def expect(self, request: int, positions: int) -> tuple[int, ...]:
        """Reserve host memory for a request that will come.

        Parameters
        ----------
        request
            Its id.
        positions
            Positions whose keys and values will come.

        Returns
        -------
        tuple of int
            The host blocks to fill, in the order of the positions; empty if there is no room for all of them.

        Raises
        ------
        EngineError
            The engine does not swap.
        """
        host = self._host.pool
        if host.blocks_for(positions) > host.free:
            return ()
        return tuple(host.grow(request, positions))

    def receive(self, request: Request, output: Sequence[int]) -> None:
        """Put a request into the queue, with the output that it has and with what came for it into host memory.

        Where nothing came, or a failed pass has discarded it, the request is computed from its tokens.

        Parameters
        ----------
        request
            With the time at which it has come as its arrival. While nothing runs, time passes until then.
        output
            Its output tokens so far, at least one and fewer than it may have.

        Raises
        ------
        EngineError
            It has not come yet while others run; there is no output, or the whole of it; or the engine does not swap.
        WorkloadError, CapacityError
            As for `submit`.
        """
        host = self._host.pool
        if not 1 <= len(output) < (request.output_length or request.max_new_tokens):
            raise EngineError(
                f"request {request.id} is handed over with {len(output)} output tokens; it must have at least one, and "
                f"fewer than the {request.output_length or request.max_new_tokens} that it may have."
            )
        if request.arrival > self.arrival_clock and self.state.busy:
            raise EngineError(
                f"request {request.id} comes at {request.arrival:g}, and the clock is at {self.arrival_clock:g}; hand "
                "it over when it has come."
            )
        self.submit(request)
        if request.arrival > self.arrival_clock:
            self._pass_time(request.arrival)
        self._intake.take(self.arrival_clock)
        live = self.state.requests[request.id]
        for token in output:
            self.outputs.append(np.array([live.row]), np.array([token]))
        if host.owned(request.id):
            live.swapped = len(request.prompt) + len(output) - 1  # the last token is fed next

    @property
    def _host(self) -> SwapSpace:
        if self.swap is None:
            raise EngineError("requests are handed over through host memory; make the engine with preemption='swap'.")
        return self.swap
