"""A run that is cut still says what failed, and a test that hangs is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TESTS = """
import time

def test_fails():
    assert [1, 2] == [1, 3], "two lists"

def test_hangs():
    while True:
        time.sleep(0.01)

def test_passes():
    pass
"""


@pytest.mark.parametrize("processes", [[], ["--numprocesses=2"]], ids=["one process", "xdist"])
def test_failures_are_named_before_the_end_and_a_hang_is_one(processes: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS, "utf-8")
    said = subprocess.run(
        [sys.executable, "-m", "pytest", *processes, "-q", "--timeout=5", "-p", "no:cacheprovider", "--color=no"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout
    during, _, after = said.partition("= FAILURES =")
    assert f"FAILED test_it.py::test_fails\n  {tmp_path / 'test_it.py'}:5: AssertionError: two lists\n" in during
    assert "FAILED test_it.py::test_hangs\n" in during
    assert "Timeout (>5.0s)" in during
    assert "time.sleep(0.01)" in after, "where it hung"
    assert "2 failed, 1 passed" in after
