"""Several runs of the same work in one table: a column a run, a row a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.checks import listed, one_of
from cbviz.measure.summary import summary
from cbviz.trace import State, Trace

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
"""Every row, and how its number is written; "four digits" have no exponent."""
CHINESE = {
    "iterations": "迭代数",
    "seconds": "秒",
    "output tokens/s": "输出 token/秒",
    "occupancy": "槽位占用率",
    "KV memory used": "KV 显存：已写入",
    "KV memory reserved": "KV 显存：留待后用",
    "KV memory never used": "KV 显存：从未用到",
    "stalls": "停顿次数",
    "preemptions": "抢占次数",
    "recomputed tokens": "重计算的 token 数",
    "TTFT p50 (ms)": "首 token 延迟 p50（毫秒）",
    "TTFT p99 (ms)": "首 token 延迟 p99（毫秒）",
    "ITL p50 (ms)": "token 间延迟 p50（毫秒）",
    "ITL p99 (ms)": "token 间延迟 p99（毫秒）",
}
"""What the rows are called in a Chinese notebook."""
MORE_ROWS = tuple(ROWS)[4:]
"""Those that say how memory was used and how long people waited."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Numbers of several runs: `numbers[run][row]`, in the order of `ROWS`. Print it; in a notebook it is a table.

    Attributes
    ----------
    numbers
        Run → row → number.
    language
        "zh" names the rows of the notebook's table in Chinese; plain text and JSON are English.
    """

    numbers: dict[str, dict[str, float]]
    language: str = "en"

    def __str__(self) -> str:
        return self.text(tuple(ROWS))

    def text(self, rows: Sequence[str]) -> str:
        """The table of these rows, one line each. Raises MeasureError for a row that there is not."""
        for row in (rows := listed("rows", rows, "names of rows")):
            one_of("a row", row, ROWS)
        lines = [("", *self.numbers), *((row, *self._written(row)) for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join(
            "   ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in lines
        )

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        head = "".join(f"<th>{escape(name)}</th>" for name in ("", *self.numbers))
        called = CHINESE if self.language == "zh" else {row: row for row in ROWS}
        body = "".join(
            f"<tr><th>{escape(called[row])}</th>{''.join(f'<td>{cell}</td>' for cell in self._written(row))}</tr>"
            for row in ROWS
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return {"text/plain": str(self), "text/html": table}

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """As plain numbers; None where there is none."""
        return {
            name: {row: None if math.isnan(value) else value for row, value in column.items()}
            for name, column in self.numbers.items()
        }

    def _written(self, row: str) -> list[str]:
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
      iterations: written; allotted and written later; allotted and never written. The rest is free.
    - A *stall* is a stretch of iterations in which an admitted request got no token.
    - Latencies are those of `cbviz.measure.latency`: seconds of the lane's clock, written in milliseconds.

    Parameters
    ----------
    traces
        Runs, one column each.
    names
        What to call them; None takes the policies' names. Equal names are numbered.
    language
        Of the table in a notebook: "en" or "zh".

    Raises
    ------
    MeasureError
        No runs, something that is no trace, or not one name for each.
    """
    if not traces or not all(isinstance(trace, Trace) for trace in traces):
        raise MeasureError("a table needs at least one trace, and nothing but traces.")
    called = [trace.meta.policy for trace in traces] if names is None else listed("names", names, "texts")
    if not all(isinstance(name, str) for name in called):
        raise MeasureError(f"names must be a list of texts, not {shown(names)}.")
    one_of("language", language, ("en", "zh"))
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
