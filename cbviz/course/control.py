"""Interactive controls for learners: a widget if ipywidgets is installed, otherwise a static rendering."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from cbviz.course.show import Shown

WIDGET = "application/vnd.jupyter.widget-view+json"


class CourseControl(ABC):
    """Shows its widget in a live notebook, and its static rendering in a saved one or without ipywidgets."""

    _widget: Any = None

    @abstractmethod
    def _still(self) -> Shown:
        """The static rendering."""

    @abstractmethod
    def _build(self, widgets: Any) -> Any:
        """Build the widget from the ipywidgets module. Called at most once."""

    def __repr__(self) -> str:
        return self._still().text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = dict(self._still()._repr_mimebundle_())
        if self._made() is not None:
            shown = self._widget._repr_mimebundle_()  # anywidget adds metadata
            bundle[WIDGET] = (shown[0] if isinstance(shown, tuple) else shown)[WIDGET]
        return bundle

    def _made(self) -> Any:
        """The widget, built once; None if ipywidgets or anywidget is not installed."""
        if self._widget is None:
            try:
                import anywidget  # noqa: F401
                import ipywidgets
            except ImportError:
                return None
            self._widget = self._build(ipywidgets)
        return self._widget
