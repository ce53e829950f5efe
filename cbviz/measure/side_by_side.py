"""Several runs of the same work in one table: one column per run, one row per number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

import numpy as np

from cbviz import messages
from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.measure.checks import listed, one_of
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.lane_times import rounded, two_digits, worth_showing
from cbviz.measure.rounding import fixed, percent
from cbviz.measure.summary import summary
from cbviz.measure.verdict import RaceVerdict
from cbviz.trace import Trace
from cbviz.trace.trace import SPECULATION

ROWS = {
    "iterations": "whole",
    "seconds": "four digits",
    "output tokens/s": "whole",
    "occupancy": "percent",
    "KV memory used": "percent",
    "KV memory reserved": "percent",
    "KV memory never used": "percent",
    "KV memory free": "percent",
    "stalls": "whole",
    "preemptions": "whole",
    "recomputed tokens": "whole",
    "tokens a decode": "two places",
    "drafts accepted": "whole",
    "drafts rejected": "whole",
    "TTFT p50 (ms)": "four digits",
    "TTFT p99 (ms)": "four digits",
    "ITL p50 (ms)": "four digits",
    "ITL p99 (ms)": "four digits",
}
"""Each row and the format of its number; "four digits" never has an exponent, "percent" has one decimal."""
DECIMALS = {"whole": 0, "two places": 2}
"""Decimal places of the formats that have a fixed number of them."""
MORE_ROWS = tuple(ROWS)[4:]
"""The rows on KV memory and waiting."""
KV_ROWS = tuple(row for row in ROWS if row.startswith("KV"))
"""Shares of the KV memory; the last is what the others leave, so that the rows as shown sum to 100 %."""
DRAFT_ROWS = ("tokens a decode", "drafts accepted", "drafts rejected")
"""Speculative decoding: a table has them if a run drafted tokens."""
_EVERY_RUN = tuple(row for row in ROWS if row not in DRAFT_ROWS)
TIMES = ("seconds", "output tokens/s", *tuple(ROWS)[-4:])
"""The rows that are timed."""
EXACT, ONE_RUN, HIDDEN = 4, 2, 0
"""Significant digits of times: of a cost model, of one run, and of one that was too short to time."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Numbers of several runs, in the order of `ROWS`, to print; `cbviz.view.run_table` draws them in a notebook.

    Attributes
    ----------
    numbers
        Run → row → number.
    language
        Language of the row names; keys of JSON stay English.
    digits
        Significant digits of times: 4, or 2 where they come from one run of a device; 0 shows no times.
    verdict
        What the runs showed, if the table says so.
    """

    numbers: dict[str, dict[str, float]]
    language: str = "en"
    digits: int = EXACT
    verdict: RaceVerdict | None = None

    def __str__(self) -> str:
        table = self.text(self.rows())
        said = self.verdict
        return f"{table}\n\n{said.in_language(self.language)}" if said is not None and said.sentences else table

    def rows(self, among: Sequence[str] = tuple(ROWS)) -> list[str]:
        """The rows worth showing: no times where a run was too short to time, no drafts where there were none.

        Parameters
        ----------
        among
            Names of `ROWS` to choose from.

        Returns
        -------
        list of str
            Names of `ROWS`, in order.
        """
        drafts = any(row in column for column in self.numbers.values() for row in DRAFT_ROWS)
        shown = [row for row in among if drafts or row not in DRAFT_ROWS]
        return [row for row in shown if self.digits != HIDDEN or row not in TIMES]

    def text(self, rows: Sequence[str]) -> str:
        """Some rows of the table as plain text, in its language.

        Parameters
        ----------
        rows
            Names of `ROWS`, in order.

        Returns
        -------
        str
            A heading, and one line per row.

        Raises
        ------
        MeasureError
            There is no such row.
        """
        for row in (rows := listed("rows", rows, "names of rows")):
            one_of("a row", row, ROWS)
        named = [(messages.say(self.language, f"table.{row}"), row) for row in rows]
        lines = [("", *self.numbers), *((name, *self.cells(row)) for name, row in named)]
        widths = [max(columns(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join(
            "   ".join(
                [
                    line[0] + " " * (widths[0] - columns(line[0])),
                    *(" " * (w - columns(cell)) + cell for cell, w in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in lines
        )

    __repr__ = __str__

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """The numbers as plain JSON values.

        Returns
        -------
        dict[str, dict[str, float | None]]
            Run → row → number; None for NaN, and for times of runs that were too short to time. Times of a single run
            have two significant digits.
        """
        return {
            name: {row: self._plain(value, row) for row, value in column.items()}
            for name, column in self.numbers.items()
        }

    def _plain(self, value: float, row: str) -> float | None:
        if math.isnan(value) or (row in TIMES and self.digits == HIDDEN):
            return None
        return rounded(value) if row in TIMES and self.digits == ONE_RUN else value

    def cells(self, row: str) -> list[str]:
        """One row of the table as text.

        Parameters
        ----------
        row
            A name of `ROWS`.

        Returns
        -------
        list[str]
            One formatted number for each run; "–" for NaN.

        Raises
        ------
        MeasureError
            There is no such row.
        """
        row = one_of("a row", row, ROWS)
        if row in TIMES and self.digits == HIDDEN:
            return ["–"] * len(self.numbers)
        if row == KV_ROWS[-1]:
            return [percent(_left(column), 1) for column in self.numbers.values()]
        values = [column.get(row, math.nan) for column in self.numbers.values()]
        return ["–" if math.isnan(value) else self._number(value, row) for value in values]

    def _number(self, value: float, row: str) -> str:
        if row in TIMES and self.digits == ONE_RUN:
            return two_digits(value)
        if ROWS[row] in DECIMALS:
            return fixed(value, DECIMALS[ROWS[row]])
        if ROWS[row] == "percent":
            return percent(value, 1)
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _left(column: dict[str, float]) -> float:
    """The share of KV memory that the rounded shares of the other rows leave."""
    written = (float(percent(column[row], 1).removesuffix("%")) for row in KV_ROWS[:-1])
    return max(0.0, round(1 - sum(written) / 100, 6))


def columns(text: str) -> int:
    """Columns that a text takes in a terminal: wide characters take two."""
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def _digits(traces: Sequence[Trace]) -> int:
    if all(trace.meta.clock == "virtual" for trace in traces):
        return EXACT
    return ONE_RUN if all(worth_showing(trace) for trace in traces) else HIDDEN


def side_by_side(*traces: Trace, names: Sequence[str] | None = None, language: str = "en") -> SideBySide:
    """Iterations, time, occupancy, KV memory, stalls, preemptions and latencies of several runs.

    - *Occupancy* is useful slot-iterations / all slot-iterations.
    - *KV memory used*, *reserved* and *never used* are shares of the pool's positions, averaged over the
      iterations: written; allocated and written later; allocated and never written. The rest is *free*. Runs of the
      same schedule have the same shares, whatever their clocks said.
    - A *stall* is a stretch of iterations in which an admitted request got no token.
    - *Tokens a decode*, *drafts accepted* and *rejected*: what a slot gave in a decode iteration on average, and what
      became of the guesses (speculative decoding).
    - Latencies are those of `cbviz.measure.latency`, on the lane's clock, in milliseconds.

    Parameters
    ----------
    traces
        The runs, one column each.
    names
        Their names; None takes the names of the policies. Equal names are numbered.
    language
        Language of the row names: one of `cbviz.messages.languages()`.

    Returns
    -------
    SideBySide
        The table.

    Raises
    ------
    MeasureError
        There is no run, an argument is not a trace, or there is not one name for each.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import side_by_side
    >>> print(side_by_side(*cbviz.recorded("smollm2-8")).text(["iterations", "occupancy", "KV memory used"]))
                            static   continuous
    iterations                 631          288
    occupancy                31.1%        65.9%
    of KV memory: written    46.9%        24.3%
    """
    if not traces or not all(isinstance(trace, Trace) for trace in traces):
        raise MeasureError("a table needs at least one trace, and nothing but traces.")
    called = [trace.meta.lane for trace in traces] if names is None else listed("names", names, "texts")
    if not all(isinstance(name, str) for name in called):
        raise MeasureError(f"names must be a list of texts, not {shown(names)}.")
    one_of("language", language, messages.languages())
    if len(called) != len(traces):
        raise MeasureError(f"there are {len(traces)} traces and {len(called)} names; give one name for each.")
    columns = {name: _numbers(trace) for name, trace in zip(distinct_names(called), traces, strict=True)}
    return SideBySide(columns, language, _digits(traces))


def _numbers(trace: Trace) -> dict[str, float]:
    found = summary(trace)
    values = (
        found.iterations,
        found.seconds,
        found.output_throughput,
        found.slot_iterations.occupancy,
        found.kv_used,
        found.kv_reserved,
        found.kv_internal,
        1 - found.kv_used - found.kv_reserved - found.kv_internal,
        int(np.count_nonzero(trace.spans.state == State.STALLED)),
        found.preemptions,
        int(trace.iterations.recompute_tokens.sum()),
        found.ttft.median * 1e3,
        found.ttft.percentiles[99] * 1e3,
        found.itl.median * 1e3,
        found.itl.percentiles[99] * 1e3,
    )
    numbers = {row: float(value) for row, value in zip(_EVERY_RUN, values, strict=True)}
    if SPECULATION in trace.meta.extra:
        drafts, accepted, decodes = trace.drafts.sum(), trace.accepted.sum(), trace.iterations.decode_slots.sum()
        rate = (decodes + accepted) / decodes if decodes else math.nan
        numbers |= dict(zip(DRAFT_ROWS, (float(rate), float(accepted), float(drafts - accepted)), strict=True))
    return numbers
