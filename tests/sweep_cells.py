"""Functions that sweeps in tests compute: other processes import them from here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def double(x: int, seed: int, plus: int = 0) -> dict[str, Any]:
    """A number that depends on everything."""
    return {"y": 2 * x + plus + seed / 8, "what": f"x{x}"}


def fails_at_two(x: int, seed: int) -> dict[str, Any]:
    """One cell raises."""
    if x == 2:
        raise ValueError("two is\none too many.")
    return {"y": x}


def dies_once(x: int, seed: int, folder: str) -> dict[str, Any]:
    """Cell 2 kills its process the first time."""
    mark = Path(folder) / "died"
    if x == 2 and not mark.exists():
        mark.touch()
        os._exit(9)
    return {"y": x}


def always_dies(x: int, seed: int) -> dict[str, Any]:
    """Cell 2 kills its process every time."""
    if x == 2:
        os._exit(9)
    return {"y": x}
