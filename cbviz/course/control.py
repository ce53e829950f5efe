"""What a learner can move: a widget where ipywidgets is installed, and a still picture of it everywhere else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from cbviz.course.show import Shown

WIDGET = "application/vnd.jupyter.widget-view+json"


class Control(ABC):
    """Shows its widget in a live notebook; a saved one, or one without widgets, shows what it says."""

    _widget: Any = None

    @abstractmethod
    def _still(self) -> Shown:
        """What is seen where no widget can be."""

    @abstractmethod
    def _build(self, widgets: Any) -> Any:
        """The widget, made of what the module ipywidgets has. Called at most once."""

    def __repr__(self) -> str:
        return self._still().text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = dict(self._still()._repr_mimebundle_())
        if self._made() is not None:
            bundle[WIDGET] = self._widget._repr_mimebundle_()[WIDGET]
        return bundle

    def _made(self) -> Any:
        """The widget, made once; None where ipywidgets is not installed."""
        if self._widget is None:
            try:
                import ipywidgets
            except ImportError:
                return None
            self._widget = self._build(ipywidgets)
        return self._widget
