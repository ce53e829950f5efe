"""Functions that sweeps in tests compute: other processes import them from here."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbviz.policies import Plan, View


def double(x: int, seed: int, plus: int = 0) -> dict[str, Any]:
    """A number that depends on everything."""
    return {"y": 2 * x + plus + seed / 8, "what": f"x{x}"}


def fails_at_two(x: int, seed: int) -> dict[str, Any]:
    """One cell raises."""
    if x == 2:
        raise ValueError("two is\none too many.")
    return {"y": x}


def first_to_leave(mark: Path) -> bool:
    """Whether this process, of several that ask at the same time, is the one that makes a file."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def dies_once(x: int, seed: int, folder: str) -> dict[str, Any]:
    """Cell 2 kills its process the first time."""
    if x == 2 and first_to_leave(Path(folder) / "died"):
        os._exit(9)
    return {"y": x}


def always_dies(x: int, seed: int) -> dict[str, Any]:
    """Cell 2 kills its process every time."""
    if x == 2:
        os._exit(9)
    return {"y": x}


def misbehaves(x: Any, seed: int) -> dict[str, Any]:
    """One cell ends Python, another returns what no other process can be sent."""
    if x == "exit":
        sys.exit(3)
    return {"y": (lambda: x) if x == "unsendable" else x}


def sleeps(x: int, seed: int) -> dict[str, Any]:
    """A cell that takes x seconds."""
    time.sleep(x)
    return {"y": x}


def takes_anything(**given: Any) -> dict[str, Any]:
    """The sum of its parameters but the seed."""
    return {"y": sum(value for name, value in given.items() if name != "seed")}


@dataclass
class KillsItsProcess:
    """Continuous batching that ends its own process in the fifth iteration, unless a file is there already."""

    mark: str
    name: str = "kills_its_process"
    summary: str = "refills slots, and dies once"

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        if view.iteration == 4 and first_to_leave(Path(self.mark)):
            os._exit(3)
        return Plan(admit=view.fitting())
