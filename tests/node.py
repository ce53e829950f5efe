"""Where node is: needed by tests that hold Python against the JavaScript module that ships."""

from __future__ import annotations

import os
import shutil

import pytest


def node() -> str:
    """Path of node. Without it a test is left out, and says so; in CI it fails."""
    path = shutil.which("node")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run the tests that need node, and it is not installed.")
        pytest.skip("node is not installed")
    return path
