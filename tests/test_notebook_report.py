"""How `make notebooks` reports a cell that fails: once, and the cells behind it are skipped with the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from normalise_notebooks import NOTEBOOKS


def cell(source: str, shows: str = "") -> nbformat.NotebookNode:
    outputs = [new_output("stream", name="stdout", text=f"{shows}\n")] if shows else []
    return new_code_cell(source, execution_count=1, outputs=outputs)


def report(folder: Path, *cells: nbformat.NotebookNode, timeout: float = 300) -> str:
    """What pytest says about a notebook of these cells, under the plugin that stands beside the notebooks."""
    shutil.copy(NOTEBOOKS / "conftest.py", folder)
    nbformat.write(new_notebook(cells=list(cells)), folder / "lesson.ipynb")
    options = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={timeout}", "-ra", "-q", "--color=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("source", "why"),
    [("1 / 0", "Cell execution caused an exception"), ("while True:\n    pass", "Timeout of 10 seconds exceeded")],
    ids=["raises", "runs out of time"],
)
def test_one_cell_that_fails_is_one_failure(source: str, why: str, tmp_path: Path) -> None:
    said = report(
        tmp_path, cell("x = 1"), cell(f"{source}\ny = x"), *[cell("print(y)", "1") for _ in range(3)], timeout=10
    )
    assert "1 failed, 1 passed, 3 skipped" in said
    assert f"Cell 1: {why}" in said
    assert "SKIPPED [3]" in said
    assert "not run: Cell 1 failed" in said


def test_a_cell_that_shows_something_else_keeps_no_other_from_running(tmp_path: Path) -> None:
    said = report(tmp_path, cell("print(1)", "2"), cell("print(3)", "3"), cell("print(4)", "5"))
    assert "2 failed, 1 passed" in said
    assert "skipped" not in said
