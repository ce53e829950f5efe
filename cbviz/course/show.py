"""Tables and rows of tokens: checked cells show these instead of printing English sentences.

Both are plain HTML and plain text without a widget, the same bytes for the same values; text written by a model or a
learner is escaped.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from html import escape
from typing import Any

from cbviz.checks import as_int, listed, shown, whole
from cbviz.course.words import term
from cbviz.errors import CbvizError
from cbviz.view.colours import BLUE, GREEN, INK, VERMILION, VIOLET, thin
from cbviz.view.svg import image

THIN_GREEN, THIN_BLUE, THIN_GREY = thin(GREEN, 0.28), thin(BLUE, 0.26), thin(INK, 0.22)
"""Okabe & Ito's hues, thin enough that the text on them reads on a white and on a dark page."""


COLOURS = (BLUE, VERMILION, GREEN, VIOLET, "#7A6A00")
"""White letters read on each of them."""


class Shown:
    """HTML with a plain-text alternative, for a notebook to display."""

    def __init__(self, html: str, text: str) -> None:
        self.html = html
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def table(head: Sequence[object], rows: Sequence[Sequence[object]], note: str = "") -> Shown:
    """A table: headings and labels in the current language, numbers aligned right.

    Parameters
    ----------
    head
        One heading a column; those that the catalogue has as `term.` lines are translated.
    rows
        Values. True and False become yes and no, floats get at most three decimals, texts are translated like headings.
    note
        A sentence under the table, shown as it is: whose numbers these are.

    Returns
    -------
    Shown
        Displayed by a notebook.

    Raises
    ------
    CbvizError
        No column, or a row whose length differs from the head's.

    Examples
    --------
    >>> table(["n", "share"], [[8, 0.5], [64, 0.25]])
     n  share
     8    0.5
    64   0.25
    """
    columns = [term(name) for name in listed("head", head, "headings")]
    if not columns:
        raise CbvizError("a table needs at least one column.")
    body = [listed("a row", row, "values") for row in listed("rows", rows, "rows")]
    for row in body:
        if len(row) != len(columns):
            raise CbvizError(f"a table with {len(columns)} columns has a row of {len(row)}: {shown(row)}.")
    cells = [[_cell(value) for value in row] for row in body]
    right = [bool(body) and all(_numeric(row[i]) for row in body) for i in range(len(columns))]
    style = ["text-align:right" if numeric else "text-align:left" for numeric in right]
    html = "".join(
        "<tr>" + "".join(f'<{tag} style="{style[i]}">{escape(cell)}</{tag}>' for i, cell in enumerate(line)) + "</tr>"
        for tag, lines in (("th", [columns]), ("td", cells))
        for line in lines
    )
    widths = [max(_width(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    text = "\n".join(
        "  ".join(_padded(cell, widths[i], right[i]) for i, cell in enumerate(line)).rstrip()
        for line in [columns, *cells]
    )
    html = f'<table style="margin-left:0">{html}</table>'
    if note:
        html, text = f"{html}<div>{escape(note)}</div>", f"{text}\n{note}"
    return Shown(html, text)


def tokens(*groups: Sequence[str], marks: Sequence[str] = ("prompt", "answer")) -> Shown:
    """Tokens in a row, each in its own box: the prompt grey, the answer green, END blue.

    Parameters
    ----------
    groups
        Texts of tokens, one list for each group: a prompt, then an answer. An empty text is a token without text: END.
    marks
        The name of each group.

    Returns
    -------
    Shown
        Displayed by a notebook.

    Raises
    ------
    CbvizError
        No tokens, or more groups than names.

    Examples
    --------
    >>> tokens(["1", "+", "1", "="], ["2", ""])
    prompt: 1 + 1 =  (4)
    answer: 2 END  (2)
    """
    names = _texts("marks", marks)
    texts = [_texts("a group of tokens", group) for group in groups]
    if not any(texts) or len(texts) > len(names):
        raise CbvizError(f"tokens need 1 to {len(names)} groups of texts, and at least one text.")
    boxes, lines = [], []
    for group, mark, ground in zip(texts, names, (THIN_GREY, THIN_GREEN), strict=False):
        boxes += [_box(_visible(piece), THIN_BLUE if piece == "" else ground) for piece in group]
        lines.append(f"{term(mark)}: {' '.join(map(_visible, group))}  ({len(group)})")
    return Shown(f'<div style="line-height:2.1;font-family:monospace">{"".join(boxes)}</div>', "\n".join(lines))


def memory(rows: Sequence[tuple[str, Sequence[tuple[str, int, int]]]], total: int) -> Shown:
    """Memory as bars, one per row: the positions each owner has written (solid) and keeps unwritten (pale, dashed).

    Parameters
    ----------
    rows
        Name of the bar, and its owners from left to right: (name, positions written, positions kept and unwritten). An
        owner with an empty name is a hole.
    total
        Positions of a whole bar.

    Returns
    -------
    Shown
        Displayed by a notebook.

    Raises
    ------
    CbvizError
        No row, a negative number, or more positions than `total`.
    """
    total = whole("total", total, most=10**12)
    bars = [_bar(row) for row in listed("rows", rows, "(name, owners)")]
    if not bars:
        raise CbvizError("memory needs at least one row.")
    parts, lines, scale = [], [], 560 / total
    known = list(dict.fromkeys(owner for _, owners in bars for owner, _, _ in owners if owner))
    for number, (name, owners) in enumerate(bars):
        at, top, said = 0, 30 * number + 4, []
        for owner, written, kept in owners:
            if written < 0 or kept < 0 or at + written + kept > total:
                raise CbvizError(f"{name!r} does not fit in {total} positions.")
            x, wide = 170 + at * scale, (written + kept) * scale
            if owner:
                colour = COLOURS[known.index(owner) % len(COLOURS)]
                parts.append(
                    f'<rect x="{x:.1f}" y="{top}" width="{wide:.1f}" height="20" fill="{colour}" fill-opacity="0.15" '
                    f'stroke="{colour}" stroke-dasharray="3 2"/><rect x="{x:.1f}" y="{top}" '
                    f'width="{written * scale:.1f}" height="20" fill="{colour}"/>'
                    f'<text x="{x + 4:.1f}" y="{top + 15}" fill="#ffffff" font-weight="600">{escape(owner)}</text>'
                )
            said.append(f"{owner} {written}+{kept}" if owner else f"– {kept}")
            at += written + kept
        parts.append(
            f'<rect x="170" y="{top}" width="560" height="20" fill="none" stroke="{INK}"/>'
            f'<text x="160" y="{top + 15}" text-anchor="end" fill="{INK}">{escape(term(name))}</text>'
        )
        lines.append(f"{term(name)}: {', '.join(said)}, – {total - at}")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="740" height="{30 * len(bars)}" font-size="13" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
    return Shown(image(svg), "\n".join(lines))


def _texts(name: str, values: object) -> list[str]:
    found = listed(name, values, "texts")
    if not all(isinstance(value, str) for value in found):
        raise CbvizError(f"{name} must be a list of texts, not {shown(values)}.")
    return [as_utf8(value) for value in found]


def _bar(row: Any) -> tuple[str, list[tuple[str, int, int]]]:
    """A row of `memory` in plain types."""
    try:
        name, owners = str(row[0]), row[1]
        found = [(str(owner), written, kept) for owner, written, kept in owners]
    except Exception:  # not a pair, not triples, or the caller's code raised
        raise CbvizError(
            f"a row of memory is (name, [(owner, positions written, positions kept), …]), not {shown(row)}."
        ) from None
    for owner, *positions in found:
        for value in positions:
            if as_int(value) is None:
                raise CbvizError(f"the positions of {shown(owner)} must be whole numbers, not {shown(value)}.")
    return name, found


def as_utf8(text: str) -> str:
    """The text, with characters that UTF-8 cannot encode (such as half a surrogate pair) escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _box(text: str, ground: str) -> str:
    return (
        f'<span style="display:inline-block;background:{ground};border-radius:3px;padding:0 5px;margin:0 2px;'
        f'line-height:1.6">{escape(text)}</span>'
    )


def _visible(piece: str) -> str:
    """A token's text with spaces and line ends made visible; END for a token without text."""
    return piece.replace(" ", "␣").replace("\n", "⏎") or "END"


def _cell(value: object) -> str:
    if isinstance(value, bool) or type(value).__name__ == "bool_" or type(value).__name__ == "bool":
        return term("yes" if value else "no")
    if isinstance(value, float) and not isinstance(value, int):
        return f"{value:.3f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)
    return term(value)


def _numeric(value: object) -> bool:
    text = term(value).replace(",", "").strip("%×").strip()
    try:
        float(text)
    except ValueError:
        return text in ("", "–")
    return not isinstance(value, bool)


def _width(text: str) -> int:
    """Terminal columns that the text occupies: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _padded(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap
