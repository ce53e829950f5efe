"""Marks in the text that point at a request on a board, and that the board points at.

A mark is an element of class ``cbviz-ref`` whose text is the request's label. In a Markdown cell, write
``<b class="cbviz-ref">S3</b>``; a cell of code shows the same with `ref`.
"""

from __future__ import annotations

from html import escape

from cbviz.checks import shown
from cbviz.errors import CbvizError


class Ref:
    """One or more marks. A notebook shows them as marks, a terminal as plain labels."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def __repr__(self) -> str:
        return " ".join(self.labels)

    def _repr_html_(self) -> str:
        return " ".join(f'<b class="cbviz-ref" tabindex="0">{escape(label)}</b>' for label in self.labels)


def ref(*labels: str | int) -> Ref:
    """Point at requests on the boards of a page.

    Pointing at a mark lights up the request's bars on every board in sight; a click keeps it, and a bar that is pointed
    at lights up its marks.

    Parameters
    ----------
    labels
        What the board calls the requests: their labels, such as "S3", or their ids.

    Returns
    -------
    Ref
        To be shown as the last value of a cell, or with `display`.

    Raises
    ------
    CbvizError
        No label, or a label that is neither a text nor an id.

    Examples
    --------
    >>> from cbviz import course
    >>> course.ref("S3", "S6")
    S3 S6
    """
    if not labels:
        raise CbvizError('ref needs at least one label, such as "S3".')
    for label in labels:
        if not isinstance(label, str | int) or isinstance(label, bool) or not str(label).strip():
            raise CbvizError(f'a label is a text such as "S3", or a request\'s id, not {shown(label)}.')
    return Ref(tuple(str(label).strip() for label in labels))
