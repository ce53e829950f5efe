"""The board: the slots of a run, live or recorded, on a page, in a notebook, in a terminal, in a picture.

`LiveBoard` needs the notebook extra (anywidget); recorded boards, pictures, the stand-alone page and the terminal do
not, so nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbviz.board.controls import Control, Knob
    from cbviz.board.pack import RequestText
    from cbviz.board.recorded import Board
    from cbviz.board.summary import Finish
    from cbviz.board.widget import LaneInfo, LiveBoard

__all__ = ["Board", "Control", "Finish", "Knob", "LaneInfo", "LiveBoard", "RequestText"]

_HOMES = {
    "Board": "recorded",
    "Control": "controls",
    "Finish": "summary",
    "Knob": "controls",
    "RequestText": "pack",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'widget')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
