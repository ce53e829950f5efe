"""What a load generator measured: for every request when it was sent, when its tokens came, and how many.

The same facts whatever tool recorded them, so that the tools' definitions of TTFT, TPOT and the others can be applied
to one run and compared (`cbviz.measure.definitions`). A fact that a file does not hold is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cbviz.checks import counted
from cbviz.errors import WorkloadError
from cbviz.workload.traffic import Traffic

ROUNDED = 0.005
"""Share by which a reported duration may be too short: tools round it, and read it from another clock."""


class Served(NamedTuple):
    """One request. Times in seconds on the tool's clock.

    Attributes
    ----------
    id
        As the file names it, or its number.
    arrival
        When it was meant to be sent: before `sent` if the client kept it back.
    sent
        When it was sent.
    first, last
        When its first and last token came; None if none did.
    end
        When the response ended, at or after `last`; None if it is not known.
    input_tokens, output_tokens
        Output as the tool counts it; 0 for a request that failed.
    gaps
        Between consecutive chunks of the stream, in seconds; None if the file does not hold them.
    first_chunk
        Output tokens in the first chunk.
    scheduled
        When the engine began to compute it; None if only the client was watched.
    client, priority
        The tenant, or None, and the priority, 0 where there are none.
    max_new_tokens
        The longest output that it declared; None if the file does not say.
    error
        Why it failed; "" if it did not.
    given_up
        Whether the client ended it, as tools do with what is in flight when a benchmark's time is over. It has an
        error, too, but is no failure of the server.
    """

    id: str
    arrival: float
    sent: float
    first: float | None
    last: float | None
    end: float | None
    input_tokens: int
    output_tokens: int
    gaps: tuple[float, ...] | None = None
    first_chunk: int = 1
    scheduled: float | None = None
    client: str | None = None
    error: str = ""
    priority: int = 0
    max_new_tokens: int | None = None
    given_up: bool = False

    @property
    def gone(self) -> float | None:
        """When it left the server: at its last token, or when it failed; None if the file does not say when."""
        return self.last if self.good else self.end

    @property
    def good(self) -> bool:
        """Whether it was served: it has an output and no error."""
        return not self.error and self.output_tokens > 0 and self.last is not None

    @property
    def failed(self) -> bool:
        """Whether it ended without being served."""
        return not self.good and not self.given_up


@dataclass(frozen=True, slots=True)
class LoadResults:
    """One run of a load generator.

    Attributes
    ----------
    tool
        A name of `cbviz.measure.definitions.TOOLS`: whose definitions the file's own numbers follow.
    name
        Of the file, and of the run if the file holds several.
    served
        One `Served` per request, in order of sending.
    timed
        Whether `sent` is known; where it is not, every time is relative to its own request's sending.
    duration
        Seconds of the benchmark as the tool reports them, or None.
    reported
        The tool's own results, such as "mean_ttft_ms": to be compared with what is computed here.
    settings
        What the file says of the run: model, rate, concurrency, …
    notes
        Sentences on what the file lacks, and what follows.
    closed
        Whether a request was sent when another had ended (a closed loop), rather than at a time of its own; None if the
        file does not say.
    concurrency
        How many requests the client let be in flight at once, which in a closed loop is how many clients there were;
        None if nothing limited them, or the file does not say.

    Raises
    ------
    WorkloadError
        There is no request.
    """

    tool: str
    name: str
    served: tuple[Served, ...]
    timed: bool = True
    duration: float | None = None
    reported: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    closed: bool | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        if not self.served:
            raise WorkloadError(f"{self.name} holds no request.")

    def __repr__(self) -> str:
        return f"<LoadResults {self.name!r} of {self.tool}: {counted(len(self.served), 'request')}>"

    @property
    def shortest(self) -> float:
        """Seconds that the run took at least: from the first sending to the last token, as far as they are known."""
        good = [one for one in self.served if one.good]
        return max((one.last or 0.0 for one in good), default=0.0) - min((one.sent for one in good), default=0.0)

    @property
    def contradicted(self) -> bool:
        """Whether the tool reports a duration in which the requests have no room."""
        return self.duration is not None and self.duration < self.shortest * (1 - ROUNDED)

    def traffic(self) -> Traffic:
        """The requests that were served, as traffic to serve again.

        Returns
        -------
        Traffic
            In order of arrival; of a closed loop in order of sending, at the times at which they were sent.

        Raises
        ------
        WorkloadError
            The file does not say when requests were sent, or none was served.
        """
        good = [one._replace(arrival=one.sent) if self.closed else one for one in self.served if one.good]
        good.sort(key=lambda one: one.arrival)
        if not self.timed:
            raise WorkloadError(f"{self.name} does not say when requests were sent, so its traffic is not known.")
        if not good:
            raise WorkloadError(f"no request of {self.name} was served.")
        declared = tuple(one.max_new_tokens for one in good if one.max_new_tokens is not None)
        return Traffic(
            name=self.name,
            arrival=tuple(one.arrival for one in good),
            input_tokens=tuple(max(1, one.input_tokens) for one in good),
            output_tokens=tuple(one.output_tokens for one in good),
            client=tuple(one.client for one in good) if any(one.client for one in good) else (),
            priority=tuple(one.priority for one in good) if any(one.priority for one in good) else (),
            max_new_tokens=declared if len(declared) == len(good) else (),
            left_out=len(self.served) - len(good),
        )
