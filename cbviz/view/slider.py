"""A slider over given values, as a widget: ipywidgets' own has no name that a screen reader could read.

Needs the notebook extra (anywidget).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class Slider(anywidget.AnyWidget):  # type: ignore[misc]
    """A name, a handle, and the value at which it stands.

    Attributes
    ----------
    name
        What the slider sets; also the accessible name of its handle.
    words
        What is shown for each value.
    index
        The current value's place among them.
    """

    _esm = Path(__file__).with_name("slider.js").read_text("utf-8")
    name = traitlets.Unicode().tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    upright = traitlets.Bool(False).tag(sync=True)
    name_width = traitlets.Int(0).tag(sync=True)
    """Least pixels for the name, so that sliders under each other align."""

    @traitlets.validate("index")  # type: ignore[untyped-decorator]
    def _within(self, proposal: Any) -> int:
        return min(max(int(proposal["value"]), 0), max(len(self.words) - 1, 0))


def slider(
    name: str,
    words: Sequence[str],
    index: int,
    moved: Callable[[int], None],
    *,
    upright: bool = False,
    name_width: int = 0,
) -> Slider:
    """A slider that calls `moved` with the index of the value it is moved to."""
    made = Slider(name=name, words=list(words), upright=upright, name_width=name_width)
    made.index = index
    made.observe(lambda change: moved(change["new"]), names="index")
    return made
