"""A workload as columns: lengths and arrivals of many requests, without their tokens."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import shown
from cbviz.errors import WorkloadError
from cbviz.limits import LONGEST_SECONDS, MOST_TOKENS
from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess
from cbviz.workload.checks import amount, fits
from cbviz.workload.checks import whole as whole_seed
from cbviz.workload.lengths import LengthLaw, as_law
from cbviz.workload.request import ArrivalUnit, Request, Workload

FloatColumn = npt.NDArray[np.float64]
IntColumn = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What a simulator must know of each request. A million requests take 40 MB; as `Workload` they would take GB.

    Parameters
    ----------
    arrival
        float64 [requests]: seconds (or iterations), ascending, from 0 on.
    prompt_tokens, output_tokens
        int64 [requests]: tokens, at least 1.
    max_new_tokens
        int64 [requests]: what a scheduler sees as the longest output; None takes the longest output of all.
    id
        int64 [requests]; None numbers them from 0.
    client
        The tenant of each request, or empty if there is only one: for policies that share out by tenant.
    priority
        int64 [requests]: lower ones go first, for policies that heed it; None if all are 0.
    name, seed
        What results call it, and the seed it was drawn with.
    arrival_unit
        "seconds" or "iterations".

    Raises
    ------
    WorkloadError
        A column is missing an entry, is not of numbers, or has one out of range; the message names the row.

    Examples
    --------
    >>> from cbviz.simulator import Work
    >>> work = Work(arrival=[0.0, 0.5], prompt_tokens=[100, 20], output_tokens=[4, 9])
    >>> len(work), work.max_new_tokens.tolist()
    (2, [9, 9])
    """

    arrival: FloatColumn
    prompt_tokens: IntColumn
    output_tokens: IntColumn
    max_new_tokens: IntColumn = None  # type: ignore[assignment]
    id: IntColumn = None  # type: ignore[assignment]
    client: tuple[str | None, ...] = ()
    priority: IntColumn | None = None
    name: str = "columns"
    seed: int = 0
    arrival_unit: ArrivalUnit = "seconds"

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "arrival", _times(self.arrival))
        n = len(self.arrival)
        if not n:
            raise WorkloadError("a workload needs at least one request.")
        for name in ("prompt_tokens", "output_tokens"):
            put(self, name, _lengths(name, getattr(self, name), n))
        longest = int(self.output_tokens.max())
        declared = np.full(n, longest) if self.max_new_tokens is None else self.max_new_tokens
        put(self, "max_new_tokens", _lengths("max_new_tokens", declared, n))
        put(self, "id", _lengths("id", np.arange(n) if self.id is None else self.id, n, least=0))
        if self.priority is not None:
            put(self, "priority", _lengths("priority", self.priority, n, least=-(2**31)))
        put(self, "client", _clients(self.client, n))
        for what, wrong in (
            ("an output longer than its max_new_tokens", self.output_tokens > self.max_new_tokens),
            ("more positions than 2**31 - 1", self.prompt_tokens + self.max_new_tokens > MOST_TOKENS),
        ):
            if wrong.any():
                row = int(wrong.argmax())
                raise WorkloadError(
                    f"row {row} has {what}: prompt_tokens is {self.prompt_tokens[row]:,}, output_tokens "
                    f"{self.output_tokens[row]:,} and max_new_tokens {self.max_new_tokens[row]:,}."
                )
        if len(np.unique(self.id)) != n:
            raise WorkloadError("two requests of the workload share an id; ids must be unique.")
        if self.arrival_unit not in ("seconds", "iterations"):
            raise WorkloadError(f"arrival_unit must be 'seconds' or 'iterations', not {shown(self.arrival_unit)}.")

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def longest(self) -> int:
        """The most positions that any request can need: prompt + max_new_tokens."""
        return int((self.prompt_tokens + self.max_new_tokens).max())

    @classmethod
    def of(cls, workload: Workload | Work) -> Work:
        """The columns of a workload.

        Parameters
        ----------
        workload
            Its requests must have forced lengths. A `Work` is returned as it is.

        Returns
        -------
        Work
            In the order of the workload.

        Raises
        ------
        WorkloadError
            It is no workload, or a request has no `output_length`.
        """
        if isinstance(workload, Work):
            return workload
        if not isinstance(workload, Workload):
            raise WorkloadError(f"workload must be a Workload or Work, not {shown(workload)}.")
        check_forced(workload)
        n, requests = len(workload), workload.requests
        return cls(
            arrival=np.fromiter((r.arrival for r in requests), np.float64, n),
            prompt_tokens=np.fromiter((len(r.prompt) for r in requests), np.int64, n),
            output_tokens=np.fromiter((r.output_length or 0 for r in requests), np.int64, n),
            max_new_tokens=np.fromiter((r.max_new_tokens for r in requests), np.int64, n),
            id=np.fromiter((r.id for r in requests), np.int64, n),
            client=tuple(r.client for r in requests) if any(r.client for r in requests) else (),
            priority=np.fromiter((r.priority for r in requests), np.int64, n)
            if any(r.priority for r in requests)
            else None,
            name=str(workload.name),
            seed=workload.seed,
            arrival_unit=workload.arrival_unit,
        )

    @classmethod
    def draw(
        cls,
        requests: int,
        lengths: LengthLaw | int,
        arrivals: ArrivalProcess | None = None,
        *,
        prompt_tokens: LengthLaw | int,
        seed: int = 0,
        arrival_unit: ArrivalUnit = "seconds",
    ) -> Work:
        """Draw a workload: the same lengths and arrivals as `cbviz.workload.synthetic` with this seed.

        Parameters
        ----------
        requests, lengths, arrivals, prompt_tokens, seed, arrival_unit
            As in `synthetic`; None for arrivals lets all come at 0.

        Returns
        -------
        Work
            Numbered from 0 in order of arrival.

        Raises
        ------
        WorkloadError
            A number is out of range, or a law or process is not one.
        """
        n, seed = amount("the number of requests", requests), whole_seed("a seed", seed, 0, below=2**63)
        coming = AllAtOnce() if arrivals is None else arrivals
        if not fits(coming, ArrivalProcess):
            raise WorkloadError(f"arrivals must be a process, such as Poisson(4), not {shown(arrivals)}.")
        law, prompt_law = as_law(lengths), as_law(prompt_tokens)
        return cls(
            arrival=np.array(coming.times(random.Random(f"{seed} arrivals"), n)),
            prompt_tokens=np.array(prompt_law.draw(random.Random(f"{seed} prompts"), n)),
            output_tokens=np.array(law.draw(random.Random(seed), n)),
            max_new_tokens=np.full(n, law.longest),
            name=f"outputs {law.describe()}; prompts {prompt_law.describe()}; {coming.describe()}",
            seed=seed,
            arrival_unit=arrival_unit,
        )

    def first(self, requests: int) -> Work:
        """The work of the first requests alone.

        Parameters
        ----------
        requests
            How many to keep.

        Returns
        -------
        Work
            A shorter one.
        """
        requests = amount("the number of requests", requests)
        columns = ("arrival", "prompt_tokens", "output_tokens", "max_new_tokens", "id", "client", "priority")
        given = {name: getattr(self, name) for name in columns}
        kept: dict[str, Any] = {name: each if each is None else each[:requests] for name, each in given.items()}
        return replace(self, **kept)

    def workload(self) -> Workload:
        """The same work as requests, whose prompts are a repeated token: lengths matter here, text does not.

        Returns
        -------
        Workload
            With forced lengths.
        """
        columns = zip(
            self.id.tolist(),
            self.prompt_tokens.tolist(),
            self.max_new_tokens.tolist(),
            self.arrival.tolist(),
            self.output_tokens.tolist(),
            self.client or repeat(None, len(self)),
            repeat(0, len(self)) if self.priority is None else self.priority.tolist(),
            strict=True,
        )
        requests = tuple(
            Request(i, (FILLER,) * prompt, most, at, output_length=length, client=client, priority=priority)
            for i, prompt, most, at, length, client, priority in columns
        )
        return Workload(self.name, requests, self.seed, self.arrival_unit)


FILLER = 3
"""The token of which prompts without text are made."""


def check_forced(workload: Workload) -> None:
    """Raise WorkloadError unless every request has a forced length: no model is there to generate END."""
    open_ended = next((request.id for request in workload if request.output_length is None), None)
    if open_ended is not None:
        raise WorkloadError(
            f"request {open_ended} has no output_length; a schedule without a model needs one for every request."
        )


def _times(given: object) -> FloatColumn:
    column: FloatColumn = _column("arrival", given, "f")
    wrong = ~(np.isfinite(column) & (column >= 0) & (column <= LONGEST_SECONDS))
    if wrong.any():
        row = int(wrong.argmax())
        advice = "; a higher rate brings requests sooner" if column[row] > LONGEST_SECONDS else ""
        raise WorkloadError(f"row {row} arrives at {column[row]:g} s; it must be 0 to {LONGEST_SECONDS:g} s{advice}.")
    backwards = np.diff(column) < 0
    if backwards.any():
        row = int(backwards.argmax()) + 1
        raise WorkloadError(f"row {row} arrives before the row above it; sort requests by arrival.")
    return column


def _lengths(name: str, given: object, n: int, least: int = 1) -> IntColumn:
    column: IntColumn = _column(name, given, "i")
    if len(column) != n:
        raise WorkloadError(f"{name} has {len(column):,} rows and arrival {n:,}; each request needs both.")
    wrong = (column < least) | (column > MOST_TOKENS)
    if wrong.any():
        row = int(wrong.argmax())
        raise WorkloadError(
            f"row {row} has {name} {column[row]}; it must be a whole number from {least} to {MOST_TOKENS:,}."
        )
    return column


def _clients(given: object, n: int) -> tuple[str | None, ...]:
    column = tuple(given) if isinstance(given, tuple | list) else None
    if column is None or (column and len(column) != n):
        raise WorkloadError(f"client must be empty or a list of {n:,} names, one a request, not {shown(given)}.")
    for row, client in enumerate(column):
        if client is not None and type(client) is not str:
            raise WorkloadError(f"row {row} has the client {shown(client)}; it must be a text or None.")
    return column


def _column(name: str, given: object, kind: str) -> npt.NDArray[Any]:
    try:
        column = np.asarray(given if isinstance(given, np.ndarray) else list(given))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        column = np.zeros((0, 0))
    numeric = column.dtype.kind in ("iu" if kind == "i" else "iuf")
    if column.ndim != 1 or not (numeric or not column.size):
        what = "whole numbers" if kind == "i" else "numbers"
        raise WorkloadError(f"{name} must be a list of {what}, one a request, not {shown(given)}.")
    return np.ascontiguousarray(column, np.int64 if kind == "i" else np.float64)
