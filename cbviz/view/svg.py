"""A picture as SVG: written to a file, or embedded in a page as an image.

In an image no script can run, whatever its text contains. And a notebook that is not trusted yet shows an image, but
would drop a bare SVG.
"""

from __future__ import annotations

import base64
import os
import re
from html import escape
from pathlib import Path
from typing import Any

from cbviz.errors import FileError, MeasureError
from cbviz.paths import new_file, write_whole

LEAST_PICTURE = 560
"""Pixels to which a wide picture may shrink on a phone before it scrolls: its text stays readable."""
_WIDTH = re.compile(r'<svg[^>]* width="([0-9.]+)"')


def data_uri(svg: str) -> str:
    """The picture as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def image(svg: str, alt: str = "", size: tuple[float, float] | None = None) -> str:
    """The picture as an HTML element; `alt` is for screen readers, empty if a text beside it says the same.

    With its `size` in pixels the page keeps room for it at once: one that replaces another does not make the page jump.
    """
    room = f' width="{size[0]:g}" height="{size[1]:g}"' if size else ""
    natural = _WIDTH.match(svg)
    wide = natural is not None and float(natural[1]) > LEAST_PICTURE
    style = f' style="min-width:{LEAST_PICTURE}px"' if wide else ""
    return f'<img alt="{escape(alt)}"{room}{style} src="{data_uri(svg)}">'


def write_svg(path: str | os.PathLike[str], svg: str) -> Path:
    """Write a picture completely or not at all, and return its path. Raises MeasureError if it cannot be written."""
    try:
        return write_whole(new_file(path), svg)
    except FileError as error:
        raise MeasureError(str(error)) from None


class Picture:
    """What has an `svg`: shown by a notebook, and written to a file. A base class."""

    __slots__ = ()

    def svg(self) -> str:
        """The picture as an SVG document.

        Returns
        -------
        str
            Its bytes depend only on the data.
        """
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": image(self.svg(), repr(self).strip("<>")), "text/plain": repr(self)}

    def to_svg(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file.

        Parameters
        ----------
        path
            The file to write; MeasureError if that fails.

        Returns
        -------
        Path
            The file written.
        """
        return write_svg(path, self.svg())
