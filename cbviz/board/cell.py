"""The notebook cell that runs now, as the front end tells of it, and what its earlier executions left behind."""

from __future__ import annotations

import weakref
from typing import Any, Protocol


def request() -> dict[str, Any]:
    """The message that asked for the cell that runs now; empty outside a notebook."""
    try:
        from IPython import get_ipython

        return dict(get_ipython().kernel.get_parent("shell"))
    except (ImportError, AttributeError, TypeError):
        return {}


def here() -> tuple[str, str]:
    """The id of the cell that runs now, and that of this execution of it; "" where the front end names no cells."""
    asked = request()
    return str(asked.get("metadata", {}).get("cellId") or ""), str(asked.get("header", {}).get("msg_id") or "")


def attended() -> bool:
    """Whether a front end is there that can show a widget, as far as its request to run this cell tells.

    JupyterLab, Notebook, VS Code and Colab can ask a person for input, or name the cell. nbclient (and with it
    nbconvert and papermill) and nbval do neither: they keep what a cell shows by the time that it ends.
    """
    asked = request()
    return bool(asked.get("content", {}).get("allow_stdin", True)) or bool(asked.get("metadata", {}).get("cellId"))


class Leavable(Protocol):
    """What a cell starts and leaves behind when it is run again."""

    def leave(self) -> None:
        """End, and let go of what is shown."""
        ...


class Cells:
    """What each cell of a notebook has started. Held weakly: what has gone needs no leaving."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[str, list[weakref.ref[Any]]]] = {}

    def begin(self) -> None:
        """Something is about to be started: what an earlier execution of this cell started is left.

        What other cells started goes on, and so does what this very execution has started.
        """
        cell, execution = here()
        if not cell or cell not in self._started or self._started[cell][0] == execution:
            return
        for reference in self._started.pop(cell)[1]:
            left = reference()
            if left is not None:
                left.leave()

    def started(self, what: Leavable) -> None:
        """This execution of the cell has started something."""
        self.begin()
        cell, execution = here()
        if cell:
            self._started.setdefault(cell, (execution, []))[1].append(weakref.ref(what))


CELLS = Cells()
"""Those of this kernel."""
