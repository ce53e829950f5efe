"""The format of every result file: the command, the versions, the date, and then the results."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cbviz.run.lane_meta import versions


def write(path: Path, script: str, argv: Sequence[str] | None, **found: Any) -> None:
    """Write a script's results.

    Parameters
    ----------
    path
        The result file, which is overwritten.
    script
        The script's `__file__`.
    argv
        The script's options; None means those of this process.
    found
        Results as JSON values.
    """
    # A path says nothing about the result, and may be private.
    options = list(sys.argv[1:] if argv is None else argv)
    for kind in ("--json", "--svg"):
        options = [option for option in options if not option.startswith(f"{kind}=")]
        if kind in options:
            place = options.index(kind)
            del options[place : place + 2]
    for kind, shown in (("--build", "FOLDER"), ("--server", "FILE")):
        if kind in options:
            options[options.index(kind) + 1] = shown
    about = {
        "command": shlex.join(["python", f"benchmarks/{Path(script).name}", *options]),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(about | found, indent=1) + "\n", "utf-8")
