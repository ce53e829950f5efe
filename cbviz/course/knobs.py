"""Sliders for a function: moving one shows what the function returns for the new values.

    def stalls(ratio=1.2, patience=20):
        ...
        return course.table(...)

    course.knobs(stalls, ratio=[0, 0.3, 1.2, 3], patience=[5, 20, 80])

A saved notebook shows the function's value for its defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from cbviz.checks import listed, shown
from cbviz.course.control import CourseControl
from cbviz.course.show import Shown
from cbviz.course.words import knob, term
from cbviz.errors import CbvizError


class Knobs(CourseControl):
    """A function with sliders. Made by `knobs`.

    Attributes
    ----------
    chosen
        The current value of every knob.
    """

    def __init__(
        self,
        show: Callable[..., Shown | Sequence[Shown]],
        values: dict[str, tuple[Any, ...]],
        chosen: dict[str, Any],
        upright: bool = False,
    ) -> None:
        self.show = show
        self.values = values
        self.chosen = chosen
        self.upright = upright
        self._page: Any = None

    def _shown(self) -> Shown:
        """What the function returns for the current values; several results are stacked."""
        returned = self.show(**self.chosen)
        parts: list[Any] = list(returned) if isinstance(returned, list | tuple) else [returned]
        if not parts or not all(isinstance(part, Shown) for part in parts):
            raise CbvizError(
                f"a function under knobs returns what course.table and the like return, not {shown(returned)}."
            )
        return Shown("".join(f"<div>{part.html}</div>" for part in parts), "\n".join(part.text for part in parts))

    def _still(self) -> Shown:
        settings = ", ".join(f"{knob(name)} = {term(value)}" for name, value in self.chosen.items())
        shown = self._shown()
        return Shown(shown.html, f"{settings}\n{shown.text}")

    def _build(self, widgets: Any) -> Any:
        self._page = widgets.HTML(self._shown().html)
        self._page.add_class("jp-RenderedHTMLCommon")  # tables look like those of other cells
        sliders = [self._slider(name, offered) for name, offered in self.values.items()]
        return widgets.VBox([*([widgets.HBox(sliders)] if self.upright else sliders), self._page])

    def _slider(self, name: str, offered: tuple[Any, ...]) -> Any:
        from cbviz.view.slider import slider

        def moved(index: int) -> None:
            self.chosen[name] = offered[index]
            self._page.value = self._shown().html

        words = [str(term(value)) for value in offered]
        at = offered.index(self.chosen[name])
        return slider(knob(name), words, at, moved, upright=self.upright, name_width=190)


def knobs(show: Callable[..., Shown | Sequence[Shown]], /, **values: Sequence[Any]) -> Knobs:
    """Add sliders to a function.

    Parameters
    ----------
    show
        Called with one value of every knob, by name; the sliders start at its defaults. It returns the result of
        `course.table`, `course.timeline` or the like, or a list of such.
    values
        For each knob what can be chosen, in order. Names are translated by the catalogue's `knob.` and `term.` lines.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved notebook shows the result for the defaults.

    Raises
    ------
    CbvizError
        There is no knob, or the function has no parameter of that name, or its default is missing or not among the
        values.
    """
    if not callable(show) or not values:
        raise CbvizError("knobs needs a function, and the values to choose from for at least one of its parameters.")
    try:
        parameters = inspect.signature(show).parameters
    except (TypeError, ValueError):  # some C functions have no signature
        raise CbvizError(f"knobs needs a Python function with parameters, not {shown(show)}.") from None
    chosen, choices = {}, {name: tuple(listed(name, offered, "values")) for name, offered in values.items()}
    for name, offered in choices.items():
        if name not in parameters or parameters[name].default is inspect.Parameter.empty:
            raise CbvizError(f"the function has no parameter {name!r} with a default, at which the slider starts.")
        if not _among(parameters[name].default, offered):
            raise CbvizError(f"the default of {name!r}, {shown(parameters[name].default)}, is not among its values.")
        chosen[name] = parameters[name].default
    return Knobs(show, choices, chosen)


def _among(value: Any, offered: tuple[Any, ...]) -> bool:
    try:
        return value in offered
    except Exception:  # arrays, and objects whose comparison fails
        return False
