"""A picture as SVG: into a file, or into a page as an image.

As an image no script in it can run, whatever its texts say. And a notebook that nobody has trusted yet shows an image,
where it would leave out a bare SVG.
"""

from __future__ import annotations

import base64
import os
from html import escape
from pathlib import Path

from cbviz.errors import FileError, MeasureError
from cbviz.paths import new_file, write_whole


def data_uri(svg: str) -> str:
    """The picture as the address of an image."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def image(svg: str, alt: str = "") -> str:
    """The picture as an HTML element; `alt` is what a screen reader says, empty if a text beside it says the same."""
    return f'<img alt="{escape(alt)}" src="{data_uri(svg)}">'


def write_svg(path: str | os.PathLike[str], svg: str) -> Path:
    """Write a picture, whole or not at all, and return its path. Raises MeasureError if it cannot be written."""
    try:
        return write_whole(new_file(path), svg)
    except FileError as error:
        raise MeasureError(str(error)) from None
