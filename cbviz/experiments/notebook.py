"""What a notebook shows of a live run, and what it keeps of it."""

from __future__ import annotations

import sys
from typing import Any


def prepare_host() -> None:
    """Google Colab shows widgets that it does not bring itself only when it is told to; every other host just does."""
    colab = sys.modules.get("google.colab")
    if colab is not None:
        colab.output.enable_custom_widget_manager()


class Outputs:
    """Where a notebook shows a live run: its board while it runs, and what is left of it when it has ended.

    A saved notebook keeps what an output showed last. A widget would be kept as "model not found"; so at the end every
    output is replaced by the picture that upgrades itself to the player. An output that is gone costs nothing.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def show(self, board: Any) -> None:
        """Display a live board in the cell that runs now, so that it can be replaced later."""
        from IPython.display import display

        data, metadata = board._repr_mimebundle_()
        self._handles.append(display(data, metadata=metadata, raw=True, display_id=True))

    def show_kept(self, data: dict[str, str]) -> None:
        """Display a mime bundle in the cell that runs now; what comes later replaces it."""
        from IPython.display import display

        self._handles.append(display(data, raw=True, display_id=True))

    def replace(self, data: dict[str, str]) -> None:
        """Put this mime bundle where the earlier ones were. May be called from any thread."""
        for handle in self._handles:
            handle.update(data, raw=True)
        self._handles.clear()
