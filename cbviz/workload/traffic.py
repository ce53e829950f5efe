"""Traffic: when requests came and how long their prompts and outputs were, without a word of them.

That is what public traces of production services hold, and what a simulator needs. `cbviz.workload.files` reads them;
`Traffic.workload` fills in random tokens, so that the real engine can serve the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from cbviz.checks import as_float, counted, is_a, shown
from cbviz.errors import WorkloadError
from cbviz.workload.arrivals import ArrivalProcess
from cbviz.workload.checks import BEYOND_INT32, LATEST, MOST_TOKENS, amount, fits, not_negative, positive, text, whole
from cbviz.workload.request import Request, Workload
from cbviz.workload.synthetic import FIRST_TOKEN

OPTIONAL = ("client", "priority", "max_new_tokens", "prefix")
"""Columns that may be empty."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """One column per fact, one row per request, in order of arrival.

    Parameters
    ----------
    name
        Where it comes from, such as the name of a file.
    arrival
        Seconds; `Traffic` shifts them so that the first request comes at 0.
    input_tokens, output_tokens
        At least 1 each.
    client
        The tenant of each request, or empty if there is only one.
    priority
        As in `Request`, or empty if all are 0.
    max_new_tokens
        What each request declared as its longest output, or empty if that is not known.
    prefix
        Per request the ids of its prompt's blocks, or empty: two prompts whose first k ids agree share their first
        k blocks.
    prefix_tokens
        Tokens of such a block; 0 without `prefix`.
    left_out
        Rows of the file that are no served request, such as failures.

    Raises
    ------
    WorkloadError
        There is no request, columns differ in length, or a value is out of range; the sentence names its row.

    Examples
    --------
    >>> from cbviz.workload import Traffic
    >>> traffic = Traffic("by hand", arrival=(0.0, 2.0, 4.0), input_tokens=(10, 20, 10), output_tokens=(5, 6, 7))
    >>> traffic.rate, traffic.at_rate(5).arrival
    (0.5, (0.0, 0.2, 0.4))
    """

    name: str
    arrival: tuple[float, ...]
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    client: tuple[str | None, ...] = ()
    priority: tuple[int, ...] = ()
    max_new_tokens: tuple[int, ...] = ()
    prefix: tuple[tuple[int, ...], ...] = ()
    prefix_tokens: int = 0
    left_out: int = 0

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "name", text("the name of traffic", self.name))
        for column in ("arrival", "input_tokens", "output_tokens", *OPTIONAL):
            values = getattr(self, column)
            if not is_a(values, (tuple, list)):
                raise WorkloadError(f"{column} of traffic must be a tuple, not {shown(values)}.")
            if len(values) != len(self.arrival) and (values or column not in OPTIONAL):
                raise WorkloadError(f"{column} has {len(values)} rows where arrival has {len(self.arrival)}.")
            put(self, column, tuple(values))
        if not self.arrival:
            raise WorkloadError("traffic needs at least one request.")
        for column in ("input_tokens", "output_tokens"):
            counts = getattr(self, column)
            if set(map(type, counts)) != {int} or min(counts) < 1 or max(counts) >= BEYOND_INT32:
                put(self, column, tuple(whole(f"{column} of row {n}", value) for n, value in enumerate(counts, 1)))
        put(self, "arrival", _from_zero(self.arrival))
        for n, client in enumerate(self.client, 1):
            if client is not None:
                text(f"client of row {n}", client)
        for n, priority in enumerate(self.priority, 1):
            whole(f"priority of row {n}", priority, -BEYOND_INT32, BEYOND_INT32)
        for n, (most, output) in enumerate(zip(self.max_new_tokens, self.output_tokens, strict=False), 1):
            whole(f"max_new_tokens of row {n}", most, output, BEYOND_INT32)
        for n, blocks in enumerate(self.prefix, 1):
            if not is_a(blocks, tuple) or not set(map(type, blocks)) <= {int}:
                raise WorkloadError(f"prefix of row {n} must be a tuple of whole numbers, not {shown(blocks)}.")
        whole("prefix_tokens", self.prefix_tokens, int(bool(self.prefix)), BEYOND_INT32)
        whole("left_out", self.left_out, 0)

    def __len__(self) -> int:
        return len(self.arrival)

    def __repr__(self) -> str:
        return f"<Traffic {self.name!r}: {counted(len(self), 'request')} in {self.arrival[-1]:,.0f} s>"

    @property
    def rate(self) -> float:
        """Requests a second: gaps between arrivals / the time that they span; infinity if all come at once."""
        span = self.arrival[-1]
        return (len(self) - 1) / span if span else math.inf

    @property
    def declared(self) -> tuple[int, ...]:
        """The longest output of each request as a scheduler sees it: as declared, or the longest of all."""
        return self.max_new_tokens or (max(self.output_tokens),) * len(self)

    def first(self, n: int) -> Traffic:
        """The first n requests.

        Parameters
        ----------
        n
            How many, at least 1; all there are if fewer.

        Returns
        -------
        Traffic
            Their rows.
        """
        return self._rows(range(min(len(self), amount("the number of requests", n))), self.name)

    def between(self, start: float, end: float) -> Traffic:
        """The requests that came within a stretch of time.

        Parameters
        ----------
        start, end
            Seconds since the first request; `end` is not included.

        Returns
        -------
        Traffic
            Their rows; the first of them now comes at 0.

        Raises
        ------
        WorkloadError
            None came in that time.
        """
        low, high = not_negative("start", start), positive("end", end)
        rows = [row for row, time in enumerate(self.arrival) if low <= time < high]
        if not rows:
            raise WorkloadError(f"{self.name} has no request from {low:g} s to {high:g} s; it spans {self._span()}.")
        return self._rows(rows, f"{self.name}, {low:g} to {high:g} s")

    def at_rate(self, rate: float) -> Traffic:
        """The same requests, their gaps stretched or shrunk alike until `rate` of them come a second.

        Parameters
        ----------
        rate
            Requests a second, above 0.

        Returns
        -------
        Traffic
            Bursts stay bursts.

        Raises
        ------
        WorkloadError
            All requests come at once, which no factor can change.
        """
        wanted = positive("the rate", rate)
        if math.isinf(self.rate):
            raise WorkloadError(f"all requests of {self.name} come at once; give them arrivals with with_arrivals.")
        factor = self.rate / wanted
        return replace(self, arrival=tuple(time * factor for time in self.arrival))

    def clipped(self, input_tokens: int | None = None, output_tokens: int | None = None) -> Traffic:
        """The same requests with prompts and outputs cut to the most that a model or an engine takes.

        Parameters
        ----------
        input_tokens, output_tokens
            The longest allowed; None leaves them as they are.

        Returns
        -------
        Traffic
            Longer ones are cut, none is dropped.
        """
        ins = BEYOND_INT32 if input_tokens is None else whole("input_tokens", input_tokens)
        outs = BEYOND_INT32 if output_tokens is None else whole("output_tokens", output_tokens)
        return replace(
            self,
            input_tokens=tuple(min(n, ins) for n in self.input_tokens),
            output_tokens=tuple(min(n, outs) for n in self.output_tokens),
            max_new_tokens=tuple(min(n, outs) for n in self.max_new_tokens),
        )

    def resampled(self, n: int, seed: int = 0) -> Traffic:
        """Draw n requests and n - 1 gaps with replacement: as many as wanted, by the same laws.

        Prompt, output, client, priority and prefix of a request are drawn together; gaps are drawn independently of
        them and of one another, so the rate and the law of the gaps stay, and a burst of many short gaps in a row
        does not.

        Parameters
        ----------
        n
            How many, at least 1.
        seed
            The same seed draws the same.

        Returns
        -------
        Traffic
            In order of arrival.
        """
        count, seed = amount("the number of requests", n), whole("a seed", seed, 0, below=2**63)
        rng = random.Random(seed)
        rows = rng.choices(range(len(self)), k=count)
        gaps = [later - earlier for earlier, later in pairwise(self.arrival)] or [0.0]
        times = accumulate(random.Random(f"{seed} gaps").choices(gaps, k=count - 1), initial=0.0)
        return replace(self._rows(rows, f"{self.name}, resampled", keep_times=False), arrival=tuple(times))

    def with_arrivals(self, process: ArrivalProcess, seed: int = 0) -> Traffic:
        """The same requests in the same order, arriving by a law instead of at their recorded times.

        Parameters
        ----------
        process
            Such as `Poisson(4)` or `AllAtOnce()`.
        seed
            The same seed draws the same times.

        Returns
        -------
        Traffic
            Only its arrivals differ.

        Raises
        ------
        WorkloadError
            `process` is no arrival process.
        """
        if not fits(process, ArrivalProcess):
            raise WorkloadError(f"arrivals must be a process, such as AllAtOnce() or Poisson(4), not {shown(process)}.")
        rng = random.Random(f"{whole('a seed', seed, 0, below=2**63)} arrivals")
        times = process.times(rng, len(self))
        return replace(self, name=f"{self.name}, {process.describe()}", arrival=tuple(times))

    def workload(self, vocabulary: int, seed: int = 0, *, max_new_tokens: int | None = None) -> Workload:
        """The same requests with prompts of random tokens, for the real engine.

        Outputs are forced to the recorded lengths. Prompts share exactly the blocks whose ids they share.

        Parameters
        ----------
        vocabulary
            Size of the model's vocabulary; ids are drawn from 3 to vocabulary - 1.
        seed
            The same seed draws the same tokens.
        max_new_tokens
            What each request declares, so that a scheduler cannot read the true length there; None means what it
            declared in the recording, or the longest output of all if that is not known.

        Returns
        -------
        Workload
            Numbered from 0 in order of arrival.

        Raises
        ------
        WorkloadError
            The vocabulary is too small, an output is longer than `max_new_tokens`, or the prompts together have more
            tokens than memory should hold.
        """
        size = whole("the size of the vocabulary", vocabulary, FIRST_TOKEN + 1, BEYOND_INT32)
        seed = whole("a seed", seed, 0, below=2**63)
        declared = self.declared if max_new_tokens is None else (whole("max_new_tokens", max_new_tokens),) * len(self)
        if (tokens := sum(self.input_tokens)) > MOST_TOKENS:
            raise WorkloadError(
                f"the prompts of {self.name} have {tokens:,} tokens together, and at most {MOST_TOKENS:,} are made; "
                "take fewer requests with first(n), or shorter prompts with clipped(…)."
            )
        ids = range(FIRST_TOKEN, size)
        rng = random.Random(f"{seed} prompts")
        blocks: dict[int, list[int]] = {}
        requests = []
        for row, (time, length, output) in enumerate(
            zip(self.arrival, self.input_tokens, self.output_tokens, strict=True)
        ):
            prompt: list[int] = []
            for block in self.prefix[row] if self.prefix else ():
                if len(prompt) >= length:
                    break
                if block not in blocks:
                    own = random.Random(f"{seed} block {block}")
                    blocks[block] = own.choices(ids, k=self.prefix_tokens)
                prompt += blocks[block]
            prompt = prompt[:length]
            prompt += rng.choices(ids, k=length - len(prompt))
            requests.append(
                Request(
                    id=row,
                    prompt=tuple(prompt),
                    max_new_tokens=declared[row],
                    arrival=time,
                    output_length=output,
                    client=self.client[row] if self.client else None,
                    priority=self.priority[row] if self.priority else 0,
                )
            )
        return Workload(self.name, tuple(requests), seed=seed)

    def _rows(self, rows: Sequence[int], name: str, *, keep_times: bool = True) -> Traffic:
        """Some rows, in the order given."""

        def chosen(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[row] for row in rows) if column else ()

        return replace(
            self,
            name=name,
            arrival=chosen(self.arrival) if keep_times else (0.0,) * len(rows),
            input_tokens=chosen(self.input_tokens),
            output_tokens=chosen(self.output_tokens),
            client=chosen(self.client),
            priority=chosen(self.priority),
            max_new_tokens=chosen(self.max_new_tokens),
            prefix=chosen(self.prefix),
        )

    def _span(self) -> str:
        return f"{self.arrival[-1]:,.0f} s"


def _from_zero(arrival: tuple[float, ...]) -> tuple[float, ...]:
    """The times since the first of them. Raises WorkloadError for one that runs backwards or is no time."""
    if not set(map(type, arrival)) <= {int, float}:
        plain = tuple(map(as_float, arrival))
        if None in plain:
            wrong = arrival[plain.index(None)]
            raise WorkloadError(f"arrival of traffic must hold numbers of seconds, not {shown(wrong)}.")
        arrival = tuple(time for time in plain if time is not None)
    first = float(arrival[0])
    times = tuple(float(time - first) for time in arrival)
    if not (math.isfinite(first) and math.isfinite(times[-1]) and times[-1] <= LATEST):
        raise WorkloadError(f"arrivals of traffic must span at most {LATEST:,.0f} s and be finite.")
    for row, (earlier, later) in enumerate(pairwise(times), 2):
        if not later >= earlier:
            raise WorkloadError(f"row {row} arrives before row {row - 1}; sort requests by arrival.")
    return times
