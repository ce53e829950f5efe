"""The requests of a run as a reader finds them: each with times in an order that can be, and an id of its own.

Every latency is a difference of two of these times. A file whose clock runs backwards, or whose rows are there twice,
would give means that look like any other, so it is refused with the number of the row.
"""

from __future__ import annotations

from itertools import pairwise

from cbviz.checks import shown
from cbviz.errors import WorkloadError
from cbviz.workload.files.rows import Row
from cbviz.workload.load_results import Served

LONGEST_RUN = 366 * 86_400.0
"""Seconds from the first sending to the last token: no benchmark runs for more than a year, but a file in which one row
has milliseconds or nanoseconds where the others have seconds seems to."""
ROUNDING = 1e-6
"""Seconds by which times may contradict one another: a float that counts seconds from 1970 is rounded to 0.2 µs."""


class ServedRows:
    """Collects the requests of one run. `source` is what messages call the file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._found: list[tuple[int, Served]] = []
        self._row_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, row: Row, served: Served) -> None:
        """Take a request. Raises WorkloadError if its times run backwards, or if an earlier row has its id."""
        _check_order(row, served)
        earlier = self._row_of.setdefault(served.id, row.number)
        if earlier != row.number:
            row.fail(f"its id {shown(served.id)} is that of row {earlier}, too; each request may be in the file once.")
        self._found.append((row.number, served))

    def in_order(self) -> tuple[Served, ...]:
        """The requests in order of sending.

        Raises
        ------
        WorkloadError
            They are further apart than any benchmark runs, or no time passed while they were served.
        """
        found = sorted(self._found, key=lambda entry: entry[1].sent)
        if not found:
            return ()
        begin = found[0][1].sent
        for number, one in found:
            if max(one.sent, one.last or one.sent) - begin > LONGEST_RUN:
                raise WorkloadError(
                    f"{self._source}, row {number}: it lies {shown(one.sent - begin)} s after the first request; a run "
                    f"may take at most {LONGEST_RUN:,.0f} s, so its times are not all in one unit or of one clock."
                )
        good = [one for _, one in found if one.good]
        if good and all(one.last == one.sent for one in good):
            raise WorkloadError(
                f"{self._source}: every request ends at the moment at which it was sent; its times are not measured."
            )
        return tuple(one for _, one in found)


def _check_order(row: Row, one: Served) -> None:
    """Raise WorkloadError unless arrival, sending, first and last token, and the end follow one another."""
    moments = [("arrival", one.arrival), ("sending", one.sent), ("first token", one.first), ("last token", one.last)]
    known = [(name, time) for name, time in moments if time is not None]
    pairs = list(pairwise(known))
    if one.end is not None:  # some tools stamp the end by another clock than the last token
        pairs.append((("sending", one.sent), ("end", one.end)))
    for (before, earlier), (after, later) in pairs:
        if later < earlier - ROUNDING:
            row.fail(f"its times run backwards: the {after} comes {earlier - later:.6g} s before the {before}.")
    if one.gaps and min(one.gaps) < -ROUNDING:
        row.fail(f"a gap between its tokens is {min(one.gaps):.6g} s; none can be below 0.")
