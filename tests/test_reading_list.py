"""What a student must read to follow one iteration may become shorter, not longer; and no file is long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 400
LONG = {
    "measure/theory.py": "one formula a function, each with its derivation",
    "run/race.py": "the public `race` and its documentation",
    "trace/check.py": "every rule that a trace must obey",
}
"""Longer files, and why."""


def read(*options: str) -> dict[str, dict[str, int]]:
    """What the tool prints with `--json`; its own process, for it traces every line."""
    command = [sys.executable, "tools/reading_list.py", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("options", "files", "lines"), [((), 15, 2_375), (("--graphs",), 29, 4_435)])
def test_one_iteration_is_no_longer_to_read(options: tuple[str, ...], files: int, lines: int) -> None:
    for policy, found in read(*options).items():
        assert {"core/loop.py", f"policies/{policy}.py"} <= found.keys()
        assert len(found) <= files, policy
        assert sum(found.values()) <= lines, policy


def test_no_file_is_long() -> None:
    package = ROOT / "cbviz"
    lengths = {
        str(path.relative_to(package)): len(path.read_text("utf-8").splitlines()) for path in package.rglob("*.py")
    }
    long = {name for name, length in lengths.items() if length > MOST_LINES}
    assert long <= LONG.keys()
