"""The board: the slots of a run, live or recorded, on a page, in a notebook, in a terminal, or as a picture.

`LiveBoard` needs the notebook extra (anywidget); recorded boards, pictures, the stand-alone page and the terminal do
not, so every name is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cbviz._moved import moved_name

if TYPE_CHECKING:
    from cbviz.view.controls import Control, Knob
    from cbviz.view.pack import RequestText
    from cbviz.view.recorded import Board
    from cbviz.view.summary import Outcome
    from cbviz.view.widget import LaneInfo, LiveBoard

__all__ = ["Board", "Control", "Knob", "LaneInfo", "LiveBoard", "Outcome", "RequestText"]

_HOMES = {
    "Board": "recorded",
    "Control": "controls",
    "Outcome": "summary",
    "Knob": "controls",
    "RequestText": "pack",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        return moved_name("view", name)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'widget')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
