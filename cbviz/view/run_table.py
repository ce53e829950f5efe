"""The table of several runs as a notebook shows it: the numbers of `cbviz.measure.side_by_side` in HTML."""

from __future__ import annotations

from html import escape
from typing import Any

from cbviz.measure.side_by_side import ROWS, SideBySide
from cbviz.messages import say


class RunTable(SideBySide):
    """Numbers of several runs that a notebook shows as a table, with row names in `language`."""

    __slots__ = ()

    @classmethod
    def of(cls, numbers: SideBySide) -> RunTable:
        """The same numbers and language, to be shown.

        Parameters
        ----------
        numbers
            What `cbviz.measure.side_by_side` returned.

        Returns
        -------
        RunTable
            The table.
        """
        return cls(numbers.numbers, numbers.language)

    def html(self) -> str:
        """One column for each run, one row for each number.

        Returns
        -------
        str
            A `<table>`. Names of runs are text, never markup.
        """
        head = "".join(f"<th>{escape(name)}</th>" for name in ("", *self.numbers))
        body = "".join(
            f"<tr><th>{escape(say(self.language, f'table.{row}'))}</th>"
            f"{''.join(f'<td>{cell}</td>' for cell in self.cells(row))}</tr>"
            for row in ROWS
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}
