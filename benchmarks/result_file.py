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

LEFT_OUT = ("--json", "--svg")
SHOWN_AS = {"--build": "FOLDER", "--server": "FILE", "--out": "FOLDER"}
"""Options whose value is a path: it says nothing about the result, and may be private."""


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
    options = shareable(sys.argv[1:] if argv is None else argv)
    about = {
        "command": shlex.join(["python", f"benchmarks/{Path(script).name}", *options]),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(about | found, indent=1) + "\n", "utf-8")


def shareable(argv: Sequence[str]) -> list[str]:
    """The options without the values that are paths, whether they are written `--out PATH` or `--out=PATH`."""
    options: list[str] = []
    values = iter(argv)
    for option in values:
        name, joined, _ = option.partition("=")
        if name in LEFT_OUT or name in SHOWN_AS:
            if not joined:
                next(values, None)
            if name in SHOWN_AS:
                options += [name, SHOWN_AS[name]]
            continue
        options.append(option)
    return options
