"""What a notebook shows of a live run, and what it keeps when the run has ended."""

from __future__ import annotations

import sys
from typing import Any


def prepare_host() -> None:
    """Enable third-party widgets in Google Colab; other hosts need no setup."""
    colab = sys.modules.get("google.colab")
    if colab is not None:
        colab.output.enable_custom_widget_manager()


class CellOutputs:
    """The notebook outputs that show a live run: its board while it runs, then a picture of the ended run.

    A saved notebook keeps the last content of an output. A saved widget would read "model not found", so at the end
    every output is replaced by the picture that upgrades itself to the player; a run that is restarted takes its place
    again. An output that is gone costs nothing.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._replaced = False

    def show(self, board: Any) -> None:
        """Display a live board in the current cell, so that it can be replaced later."""
        from IPython.display import display

        data, metadata = board._repr_mimebundle_()
        self._handles.append(display(data, metadata=metadata, raw=True, display_id=True))
        self._replaced = False

    def show_kept(self, data: dict[str, str]) -> None:
        """Display a mime bundle in the current cell; a later `replace` updates it."""
        from IPython.display import display

        self._handles.append(display(data, raw=True, display_id=True))
        self._replaced = False

    def replace(self, data: dict[str, str]) -> None:
        """Replace the earlier outputs by this mime bundle, once until there is something to replace again.

        Any thread may call it.
        """
        if self._replaced:
            return
        self._replaced = True
        for handle in self._handles:
            handle.update(data, raw=True)

    def show_again(self, board: Any) -> None:
        """Replace the earlier outputs by the live board, whose run has been restarted. Any thread may call it."""
        self._replaced = False
        if self._handles:
            data, metadata = board._repr_mimebundle_()
            for handle in self._handles:
                handle.update(data, metadata=metadata, raw=True)
