"""Runs the page's JavaScript in node, beside Python: a script of `tests/web` reads what it is given and writes JSON."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from cbviz.models import LoadedModel, load
from tests.node import node

WEB = Path(__file__).parent / "web"


def in_node(script: str, given: Any) -> Any:
    """What `tests/web/SCRIPT` makes of `given`."""
    done = subprocess.run(
        [node(), str(WEB / script)], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@cache
def tiny() -> LoadedModel:
    """The built-in model in float32, which is what the page computes in."""
    return load("tiny", device="cpu", dtype="float32")
