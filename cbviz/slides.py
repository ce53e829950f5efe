"""Pictures for slides: every recorded race as SVG, PNG and a looping GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cbviz.errors import CbvizError


def export(folder: Path, *, language: str = "en", dark: bool = False) -> Iterator[Path]:
    """Write NAME.svg, NAME.png and NAME.gif of every recording into `folder`, which may be new; yields each path.

    Raises CbvizError if the folder is a file or cannot be written, the language is unknown, or Pillow is missing.
    """
    from cbviz.board import Board
    from cbviz.trace import RECORDINGS, recorded

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in RECORDINGS:
            board = Board(*recorded(name), title=name, language=language)
            yield board.to_svg(folder / f"{name}.svg", dark=dark)
            yield board.to_png(folder / f"{name}.png", dark=dark)
            yield board.to_gif(folder / f"{name}.gif", dark=dark)
    except OSError as error:
        raise CbvizError(
            f"cannot write pictures into {folder}: {error.strerror}; give a folder that is new or can be written."
        ) from error
