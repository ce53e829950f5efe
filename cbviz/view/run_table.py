"""The table of several runs as a notebook shows it: the numbers of `cbviz.measure.side_by_side` in HTML."""

from __future__ import annotations

from html import escape
from typing import Any

from cbviz.measure.side_by_side import SideBySide
from cbviz.measure.verdict import RaceVerdict
from cbviz.messages import say


def paragraphs(said: RaceVerdict | None, language: str) -> str:
    """The sentences of a verdict as HTML: the result in bold, and the others below it. Names in it are text."""
    if said is None or not said.sentences:
        return ""
    head = said.headline
    first = "" if head is None else f"<strong>{escape(head.in_language(language))}</strong>"
    rest = said.sentences if head is None else said.sentences[1:]
    return f"<p>{' '.join([first, *(escape(line.in_language(language)) for line in rest)]).strip()}</p>"


class RunTable(SideBySide):
    """Numbers of several runs that a notebook shows as a table, with row names in `language`."""

    __slots__ = ()

    @classmethod
    def of(cls, numbers: SideBySide, said: RaceVerdict | None = None) -> RunTable:
        """The same numbers and language, to be shown.

        Parameters
        ----------
        numbers
            What `cbviz.measure.side_by_side` returned.
        said
            What the runs showed; its sentences are written under the table.

        Returns
        -------
        RunTable
            The table.
        """
        return cls(numbers.numbers, numbers.language, numbers.digits, said)

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
            for row in self.rows()
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return table + paragraphs(self.verdict, self.language)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}
