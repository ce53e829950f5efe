"""The form of every result file: the command that gave it, with which versions, when, and then what was found."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cbviz.experiments.lane import versions


def write(path: Path, script: str, argv: Sequence[str] | None, **found: Any) -> None:
    """Write what a script found.

    Parameters
    ----------
    path
        Of the result, overwritten.
    script
        The script's `__file__`.
    argv
        The options that it was called with; None takes those of this process.
    found
        Whatever JSON can hold.
    """
    # Where the answer went says nothing about it, and may name a place on somebody's machine.
    options = list(sys.argv[1:] if argv is None else argv)
    for kind in ("--json", "--svg"):
        options = [option for option in options if not option.startswith(f"{kind}=")]
        if kind in options:
            place = options.index(kind)
            del options[place : place + 2]
    about = {
        "command": shlex.join(["python", f"benchmarks/{Path(script).name}", *options]),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(about | found, indent=1) + "\n", "utf-8")
