"""What tests need that hold Python against the JavaScript module that ships: node, and that module as a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from cbviz.view.js_source import joined

_folders: list[tempfile.TemporaryDirectory[str]] = []  # kept until the tests end


def node() -> str:
    """Path of node. Without it a test is left out, and says so; in CI it fails."""
    path = shutil.which("node")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run the tests that need node, and it is not installed.")
        pytest.skip("node is not installed")
    return path


@cache
def shipped_module() -> str:
    """Address of the board's one module, as widgets and pages carry it."""
    folder = tempfile.TemporaryDirectory()
    _folders.append(folder)
    path = Path(folder.name) / "board.mjs"
    path.write_text(joined(), encoding="utf-8")
    return path.as_uri()
