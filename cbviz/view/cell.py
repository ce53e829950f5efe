"""The current notebook cell, as its front end describes it, and the runs that its earlier executions started."""

from __future__ import annotations

import weakref
from typing import Any, Protocol


def request() -> dict[str, Any]:
    """The message that requested the current cell's execution; empty outside a notebook."""
    try:
        from IPython import get_ipython

        return dict(get_ipython().kernel.get_parent("shell"))
    except (ImportError, AttributeError, TypeError):
        return {}


def here() -> tuple[str, str]:
    """The ids of the current cell and of its execution; "" if the front end does not name cells."""
    asked = request()
    return str(asked.get("metadata", {}).get("cellId") or ""), str(asked.get("header", {}).get("msg_id") or "")


def attended() -> bool:
    """Whether a front end that can show a widget runs this cell, judging by its execute request.

    JupyterLab, Notebook, VS Code and Colab allow input from the user, or name the cell. nbclient (and with it
    nbconvert and papermill) and nbval do neither: they keep what a cell shows when it ends.
    """
    asked = request()
    return bool(asked.get("content", {}).get("allow_stdin", True)) or bool(asked.get("metadata", {}).get("cellId"))


class Leavable(Protocol):
    """Something that a cell starts, and that must end when the cell runs again."""

    def leave(self) -> None:
        """End, and close what is shown."""
        ...


class Cells:
    """What each cell of a notebook has started, by weak reference: a deleted object needs no `leave`."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[str, list[weakref.ref[Any]]]] = {}

    def begin(self) -> None:
        """Before a start: call `leave` on everything that an earlier execution of this cell started.

        Objects started by other cells, or by this execution, keep running.
        """
        cell, execution = here()
        if not cell or cell not in self._started or self._started[cell][0] == execution:
            return
        for reference in self._started.pop(cell)[1]:
            left = reference()
            if left is not None:
                left.leave()

    def started(self, what: Leavable) -> None:
        """Remember an object that this execution of the cell has started."""
        self.begin()
        cell, execution = here()
        if cell:
            self._started.setdefault(cell, (execution, []))[1].append(weakref.ref(what))


CELLS = Cells()
"""The cells of this kernel."""
