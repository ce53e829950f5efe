"""Several runs of the same work in one table: one column per run, one row per number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cbviz import messages
from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.measure.checks import listed, one_of
from cbviz.measure.summary import summary
from cbviz.trace import Trace

ROWS = {
    "iterations": "{:,.0f}",
    "seconds": "four digits",
    "output tokens/s": "{:,.0f}",
    "occupancy": "{:.1%}",
    "KV memory used": "{:.1%}",
    "KV memory reserved": "{:.1%}",
    "KV memory never used": "{:.1%}",
    "stalls": "{:,.0f}",
    "preemptions": "{:,.0f}",
    "recomputed tokens": "{:,.0f}",
    "TTFT p50 (ms)": "four digits",
    "TTFT p99 (ms)": "four digits",
    "ITL p50 (ms)": "four digits",
    "ITL p99 (ms)": "four digits",
}
"""Each row and the format of its number; "four digits" never has an exponent."""
MORE_ROWS = tuple(ROWS)[4:]
"""The rows on KV memory and waiting."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Numbers of several runs, in the order of `ROWS`, to print; `cbviz.view.run_table` draws them in a notebook.

    Attributes
    ----------
    numbers
        Run → row → number.
    language
        Language of the row names in a notebook's table; plain text and JSON stay English.
    """

    numbers: dict[str, dict[str, float]]
    language: str = "en"

    def __str__(self) -> str:
        return self.text(tuple(ROWS))

    def text(self, rows: Sequence[str]) -> str:
        """Some rows of the table as plain text.

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
        lines = [("", *self.numbers), *((row, *self.cells(row)) for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join(
            "   ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in lines
        )

    __repr__ = __str__

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """The numbers as plain JSON values.

        Returns
        -------
        dict[str, dict[str, float | None]]
            Run → row → number; None for NaN.
        """
        return {
            name: {row: None if math.isnan(value) else value for row, value in column.items()}
            for name, column in self.numbers.items()
        }

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
        values = [column[row] for column in self.numbers.values()]
        return ["–" if math.isnan(value) else _number(value, ROWS[row]) for value in values]


def _number(value: float, form: str) -> str:
    if form != "four digits":
        return form.format(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def side_by_side(*traces: Trace, names: Sequence[str] | None = None, language: str = "en") -> SideBySide:
    """Iterations, time, occupancy, KV memory, stalls, preemptions and latencies of several runs.

    - *Occupancy* is useful slot-iterations / all slot-iterations.
    - *KV memory used*, *reserved* and *never used* are shares of the pool's positions, averaged over the time of the
      iterations: written; allocated and written later; allocated and never written. The rest is free.
    - A *stall* is a stretch of iterations in which an admitted request got no token.
    - Latencies are those of `cbviz.measure.latency`, on the lane's clock, in milliseconds.

    Parameters
    ----------
    traces
        The runs, one column each.
    names
        Their names; None takes the names of the policies. Equal names are numbered.
    language
        Language in which `cbviz.view.run_table` names the rows: one of `cbviz.messages.languages()`.

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
    iterations          631          288
    occupancy         31.1%        65.9%
    KV memory used    46.8%        24.1%
    """
    if not traces or not all(isinstance(trace, Trace) for trace in traces):
        raise MeasureError("a table needs at least one trace, and nothing but traces.")
    called = [trace.meta.policy for trace in traces] if names is None else listed("names", names, "texts")
    if not all(isinstance(name, str) for name in called):
        raise MeasureError(f"names must be a list of texts, not {shown(names)}.")
    one_of("language", language, messages.languages())
    if len(called) != len(traces):
        raise MeasureError(f"there are {len(traces)} traces and {len(called)} names; give one name for each.")
    distinct = [n if called.count(n) == 1 else f"{n} {called[: i + 1].count(n)}" for i, n in enumerate(called)]
    return SideBySide({name: _numbers(trace) for name, trace in zip(distinct, traces, strict=True)}, language)


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
        int(np.count_nonzero(trace.spans.state == State.STALLED)),
        found.preemptions,
        int(trace.iterations.recompute_tokens.sum()),
        found.ttft.median * 1e3,
        found.ttft.percentiles[99] * 1e3,
        found.itl.median * 1e3,
        found.itl.percentiles[99] * 1e3,
    )
    return {row: float(value) for row, value in zip(ROWS, values, strict=True)}
