"""Ctrl-C while the command is still being imported ends it with 130 and without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENTRY = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["cbviz"].split(":")
MODULE = ["-m", "cbviz"]
SCRIPT = ["-c", f"import sys; from {ENTRY[0]} import {ENTRY[1]}; sys.exit({ENTRY[1]}())"]

INTERRUPTS = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # Python handles a signal between two steps of the main thread
                pass

sys.meta_path.insert(0, Interrupts())
"""
"""A module that Python imports before all others: the process signals itself where an import begins."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def interrupted(tmp_path: Path, how: list[str], at: str, handler: signal.Handlers) -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS, "utf-8")
    return subprocess.run(
        [sys.executable, *how, "models"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "INTERRUPT_AT": at},
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )


@pytest.mark.parametrize(
    ("how", "at"),
    [
        (MODULE, "cbviz._moved"),
        (["-mcbviz"], "cbviz._moved"),
        *(
            (how, at)
            for how in (MODULE, SCRIPT)
            for at in ("cbviz.cli", "argparse", "cbviz.cli.options", "cbviz.models")
        ),
    ],
)
def test_an_interrupt_during_imports(how: list[str], at: str, tmp_path: Path) -> None:
    ran = interrupted(tmp_path, how, at, signal.SIG_DFL)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "cbviz: interrupted; nothing was kept.\n")


def test_an_interrupt_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    ran = interrupted(tmp_path, MODULE, "cbviz.cli", signal.SIG_IGN)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "tiny" in ran.stdout


def test_a_program_that_imports_cbviz_keeps_its_own_handling(tmp_path: Path) -> None:
    how = ["-c", "import cbviz, cbviz.__main__, cbviz.cli, signal; print(signal.getsignal(2).__name__)"]
    ran = interrupted(tmp_path, how, "nothing", signal.SIG_DFL)
    assert ran.stdout == "default_int_handler\n", ran.stderr
