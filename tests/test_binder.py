"""binder/: what can be known of it without building an image."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import binder_requirements
import notebook_memory
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
BINDER = ROOT / "binder"
LINES = (BINDER / "requirements.txt").read_text("utf-8").splitlines()
REQUIREMENTS = [Requirement(line) for line in LINES if line and not line.startswith(("#", "--"))]


def test_there_is_one_folder_for_binder_and_nothing_in_it_that_binder_does_not_read() -> None:
    assert not (ROOT / ".binder").exists(), "with both folders Binder refuses the repository"
    assert {path.name for path in BINDER.iterdir()} == {"requirements.txt", "runtime.txt", "postBuild", "start"}


def test_the_requirements_are_what_pyproject_and_the_constraints_say() -> None:
    assert binder_requirements.main(["--check"]) == 0


def test_a_stale_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "requirements.txt"
    monkeypatch.setattr(binder_requirements, "TARGET", stale)
    assert binder_requirements.main(["--check"]) == 1
    stale.write_text("numpy==1.0\n")
    assert binder_requirements.main(["--check"]) == 1
    assert stale.read_text() == "numpy==1.0\n"
    assert binder_requirements.main([]) == 0
    assert binder_requirements.main(["--check"]) == 0


def test_every_version_is_the_one_of_the_constraints() -> None:
    pins = binder_requirements.pins()
    for wanted in REQUIREMENTS:
        (pin,) = wanted.specifier
        assert pin.operator == "=="
        assert Version(pin.version).public == pins[binder_requirements.canonical(wanted.name)][1]


def test_everything_that_cbviz_needs_is_there_but_jupyterlab() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][name] for name in ("notebook", "gguf"))]
    wanted = {Requirement(line).name for group in groups for line in group}
    assert wanted - {wanted.name for wanted in REQUIREMENTS} == {"jupyterlab"}


def test_torch_is_the_cpu_build_and_no_package_of_cuda_is_named() -> None:
    names = {wanted.name: str(wanted.specifier) for wanted in REQUIREMENTS}
    assert names["torch"].endswith("+cpu"), "only PyTorch's own CPU index has a version of that name"
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in LINES
    assert not [name for name in names if re.search("nvidia|cuda|cudnn|triton|torchao", name)]


def test_the_python_is_one_that_cbviz_supports() -> None:
    python = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text())
    assert python is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python[1])


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_be_run_and_bash_understands_them(name: str) -> None:
    script = BINDER / name
    assert os.access(script, os.X_OK), "Binder runs it as it is"
    assert script.read_bytes().startswith(b"#!/bin/bash\n")
    assert b"\r" not in script.read_bytes()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_start_runs_what_it_is_given_with_one_thread() -> None:
    asked = "import os; print(os.environ['OMP_NUM_THREADS'], 'a b')"
    run = subprocess.run([BINDER / "start", sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert run.stdout == "1 a b\n"


def test_a_failing_build_fails() -> None:
    """Binder ignores what goes wrong in postBuild unless the script stops there."""
    assert "set -euo pipefail" in (BINDER / "postBuild").read_text()


def test_the_peak_is_read_from_what_linux_says() -> None:
    assert notebook_memory.peak("VmPeak:\t  999 kB\nVmHWM:\t  1024 kB\nVmRSS:\t 5 kB\n") == 1024 * 1024
    with pytest.raises(ValueError, match="no VmHWM"):
        notebook_memory.peak("VmRSS: 5 kB")


def test_one_row_is_measured_again_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    new = {"notebook": "02_b", "peak_bytes": 7, "date": "2026-11-29"}
    assert notebook_memory.beside([new], file) == [new]
    rows = [{"notebook": name, "peak_bytes": 1} for name in ("01_a", "02_b", "03_c")]
    file.write_text(json.dumps({"date": "2026-11-22", "notebooks": rows}))
    kept = notebook_memory.beside([new], file)
    assert [(row["notebook"], row["peak_bytes"], row["date"]) for row in kept] == [
        ("01_a", 1, "2026-11-22"),
        ("02_b", 7, "2026-11-29"),
        ("03_c", 1, "2026-11-22"),
    ]
