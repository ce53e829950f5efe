"""What numba compiles, where its cache is damaged, full or missing, and where numba is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cbviz.jit import compiled, compiled_for, inner

ROOT = Path(__file__).resolve().parents[1]
SUM = """
import numpy as np
from cbviz.jit import compiled, compiled_for
from kernels import total
fast = compiled(total)
compiled_for(fast, (np.arange(4),))
print(fast(np.arange(4)))
"""
KERNEL = "def total(numbers):\n    found = 0\n    for one in numbers:\n        found += one\n    return found\n"


def total(numbers: Any) -> Any:
    """The sum of an array."""
    found = 0
    for one in numbers:
        found += one
    return found


def run(folder: Path, **variables: str) -> str:
    """What a process prints that compiles a function; its numba keeps its cache in the folder."""
    (folder / "kernels.py").write_text(KERNEL)
    code = SUM
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": f"{ROOT}:{folder}",
        **variables,
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_later_process_loads_what_an_earlier_one_compiled(tmp_path: Path) -> None:
    assert run(tmp_path) == "6"
    kept = sorted((tmp_path / "cache").rglob("*.nb?"))
    assert {path.suffix for path in kept} == {".nbi", ".nbc"}
    before = [path.stat().st_mtime_ns for path in kept]
    assert run(tmp_path) == "6"
    assert [path.stat().st_mtime_ns for path in kept] == before


@pytest.mark.parametrize("junk", [b"", b"junk\n", b"\x80\x04N."])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_cache_is_no_obstacle(junk: bytes, kind: str, tmp_path: Path) -> None:
    run(tmp_path)
    for path in (tmp_path / "cache").rglob(f"*.{kind}"):
        path.write_bytes(junk)
    assert run(tmp_path) == "6"


def test_a_folder_that_cannot_be_made_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")) == "6"


def test_a_machine_without_any_such_folder_compiles_in_every_process(tmp_path: Path) -> None:
    assert run(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator") == "6"


def test_a_full_disk_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    np = pytest.importorskip("numpy")
    caching = pytest.importorskip("numba.core.caching")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.FunctionCache, "save_overload", full)
    compiled.cache_clear()
    fast: Any = compiled(total)
    assert compiled_for(fast, (np.arange(4),)) > 0
    assert fast(np.arange(4)) == 6
    compiled.cache_clear()


def test_without_numba_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setitem(sys.modules, "numba.extending", None)
    compiled.cache_clear()
    assert compiled(total) is None
    assert inner(total) is total
    compiled.cache_clear()
