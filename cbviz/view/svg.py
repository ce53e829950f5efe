"""A picture as SVG: written to a file, or embedded in a page as an image.

In an image no script can run, whatever its text contains. And a notebook that is not trusted yet shows an image, but
would drop a bare SVG.
"""

from __future__ import annotations

import base64
import os
from html import escape
from pathlib import Path

from cbviz.errors import FileError, MeasureError
from cbviz.paths import new_file, write_whole


def data_uri(svg: str) -> str:
    """The picture as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def image(svg: str, alt: str = "") -> str:
    """The picture as an HTML element; `alt` is for screen readers, empty if a text beside it says the same."""
    return f'<img alt="{escape(alt)}" src="{data_uri(svg)}">'


def write_svg(path: str | os.PathLike[str], svg: str) -> Path:
    """Write a picture completely or not at all, and return its path. Raises MeasureError if it cannot be written."""
    try:
        return write_whole(new_file(path), svg)
    except FileError as error:
        raise MeasureError(str(error)) from None
