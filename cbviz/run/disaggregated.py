"""Prefill and decode apart: one engine reads prompts, another writes answers, and KV blocks go from one to the other.

A prompt that is read beside decodes lengthens their iteration, so every reader waits a little. With two engines no
decode ever waits for a prompt; the price is a second copy of the weights, and a transfer of every prompt's keys and
values (DistServe, OSDI'24, §3; Splitwise, ISCA'24, §4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cbviz.core.block_pool import BlockPool
from cbviz.core.engine import Engine
from cbviz.core.executor import Copies
from cbviz.core.receiving import ReceivingEngine
from cbviz.errors import WorkloadError
from cbviz.events import FinishReason, Iteration
from cbviz.trace import Recorder, Trace, TraceMeta
from cbviz.workload import Request


@dataclass(frozen=True, slots=True)
class Handover:
    """One arrow from the prefill lane to the decode lane.

    Attributes
    ----------
    request
        Its id.
    blocks, bytes
        What was moved: the KV blocks with at least one position of the prompt, whole. 0 where host memory had no room,
        so that the decode engine reads the prompt again.
    left, arrived
        When its prompt was read, and when the last byte had come: seconds on the lanes' clocks.
    """

    request: int
    blocks: int
    bytes: int
    left: float
    arrived: float


@dataclass(frozen=True, slots=True)
class DisaggregatedResult:
    """A workload served by two engines.

    Attributes
    ----------
    prefill, decode
        The two lanes. The decode lane's requests arrive when their blocks have come, and its outputs begin with the
        second token.
    handovers
        In the order in which they left.
    answers
        Request id → all of its output tokens.
    """

    prefill: Trace
    decode: Trace
    handovers: tuple[Handover, ...]
    answers: dict[int, list[int]]

    @property
    def transferred_bytes(self) -> int:
        """All bytes that were moved."""
        return sum(handover.bytes for handover in self.handovers)

    def token_times(self, request: int) -> list[float]:
        """When each output token of a request came: seconds.

        Parameters
        ----------
        request
            Its id; KeyError if there is no such request.

        Returns
        -------
        list of float
            One a token, in order.
        """
        if request not in self.answers:
            raise KeyError(request)
        times: list[float] = []
        for lane in (self.prefill, self.decode):
            for row in (lane.requests.id == request).nonzero()[0]:
                times += [float(lane.iterations.t_end[i]) for i in lane.requests.token_iterations[row]]
        return times


class Disaggregated:
    """Two engines and the link between them. Make a new one for another run.

    Whichever lane's clock is behind goes next, so a request is never decoded before it has come. The link carries one
    request at a time. The prefill engine serves every request as one of a single output token; its finished slot is
    free in the next iteration, because the blocks are copied to host memory before that.

    Parameters
    ----------
    prefill, decode
        The engines; neither plans ahead of its tokens (`lag` is 0), and arrivals count seconds.
    copy
        Copies blocks of the prefill engine's KV cache to host memory: pairs of block and host block. None where nothing
        is computed.
    bandwidth
        Bytes a second that the link carries; None takes no time.
    block_bytes
        Bytes of a KV block; None takes the decode engine's.

    Raises
    ------
    WorkloadError
        An engine plans ahead, or counts arrivals in iterations.
    """

    def __init__(
        self,
        prefill: Engine,
        decode: ReceivingEngine,
        copy: Callable[[Copies], None] | None = None,
        *,
        bandwidth: float | None = None,
        block_bytes: int | None = None,
    ) -> None:
        for engine in (prefill, decode):
            if engine.lag:
                raise WorkloadError("with prefill and decode apart, blocks leave after each iteration; lag must be 0.")
            if engine.arrival_unit != "seconds":
                raise WorkloadError(
                    "prefill and decode apart have two clocks, in seconds; arrivals must not count iterations."
                )
        self.handovers: list[Handover] = []
        self._prefill, self._decode = prefill, decode
        self._copy = copy
        self._bandwidth = bandwidth
        self._block_bytes = decode.block_bytes if block_bytes is None else block_bytes
        self._requests: dict[int, Request] = {}
        self._coming: deque[tuple[Handover, int]] = deque()
        """What is on its way, with its first output token, in order of arrival."""
        self._link_free = 0.0

    def run(self, workload: Iterable[Request], metas: tuple[TraceMeta, TraceMeta]) -> DisaggregatedResult:
        """Serve a workload.

        Parameters
        ----------
        workload
            The requests.
        metas
            Metadata of the prefill lane's trace and of the decode lane's.

        Returns
        -------
        DisaggregatedResult
            Both lanes, and what went from one to the other.

        Raises
        ------
        CbvizError
            An engine refuses a request or the plan of its policy.
        """
        requests = list(workload)
        self._requests = {request.id: request for request in requests}
        firsts = [_first_token_of(request) for request in requests]
        recorders = Recorder(metas[0], firsts), Recorder(metas[1])
        self._prefill.submit(*firsts)
        reading = True
        while reading or self._coming or self._decode.state.busy:
            if reading and not self._decode_is_next():
                event = self._prefill.step()
                reading = event is not None
                if event is not None:
                    recorders[0].add(event)
                    self._hand_over(event)
                continue
            recorders[1].add_requests(self._receive())
            event = self._decode.step()
            if event is not None:
                recorders[1].add(event)
        answers = {request.id: self._prefill.output(request.id) for request in requests}
        for handover in self.handovers:
            answers[handover.request] = self._decode.output(handover.request)
        return DisaggregatedResult(recorders[0].trace(), recorders[1].trace(), tuple(self.handovers), answers)

    def _decode_is_next(self) -> bool:
        """Whether the decode lane can go on, and nothing that is still to be read could come before it does."""
        now = self._decode.now
        if not self._decode.state.busy:
            if not self._coming:
                return False
            now = max(now, self._coming[0][0].arrived)
        return now <= self._prefill.now

    def _receive(self) -> list[Request]:
        """Hand over what has come, or, while nothing is decoded, what comes next."""
        received: list[Request] = []
        while self._coming:
            handover, first = self._coming[0]
            if handover.arrived > self._decode.now and self._decode.state.busy:
                break
            self._coming.popleft()
            request = replace(self._requests[handover.request], arrival=handover.arrived)
            self._decode.receive(request, [first])
            received.append(request)
        return received

    def _hand_over(self, event: Iteration) -> None:
        """Send the blocks of every request whose first token came, unless it was the last one."""
        for finish in event.finished:
            asked = self._requests[finish.request]
            if finish.reason != FinishReason.LENGTH or (asked.output_length or asked.max_new_tokens) == 1:
                continue
            positions = len(asked.prompt)
            pool: BlockPool = self._prefill.pool
            written = pool.owned(asked.id)[: pool.blocks_for(positions)]
            targets = self._decode.expect(asked.id, positions)
            if targets and self._copy is not None:
                self._copy(tuple(zip(written, targets, strict=True)))
            moved = len(targets) * self._block_bytes
            begins = max(event.t_end, self._link_free)
            self._link_free = begins + (moved / self._bandwidth if self._bandwidth else 0.0)
            handover = Handover(asked.id, len(targets), moved, event.t_end, self._link_free)
            self.handovers.append(handover)
            self._coming.append((handover, int(event.token[finish.slot])))


def _first_token_of(request: Request) -> Request:
    """What the prefill engine serves of a request: its prompt and one token."""
    return replace(request, max_new_tokens=1, output_length=None if request.output_length is None else 1)
