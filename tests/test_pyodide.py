"""The policies run in a browser's Python: Pyodide under node plans as CPython does, without numpy and torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node import node
from tools.page_python import VERSION

ROOT = Path(__file__).parents[1]

SCRIPT = """
import { loadPyodide } from "pyodide";
const python = await loadPyodide({ stdout: console.log });
python.mountNodeFS("/repository", process.argv[2]);
python.runPython(`
import sys
sys.path.insert(0, "/repository")
from tests.plans_everywhere import plans
print(plans())
assert not {"numpy", "torch"} & set(sys.modules), "a browser has neither"
`);
"""


@pytest.fixture(scope="module")
def pyodide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose modules can import Pyodide. Where it cannot be fetched the test is left out; in CI it fails."""
    folder = tmp_path_factory.mktemp("pyodide")
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run the test in Pyodide, and npm, which fetches it, is not installed.")
        pytest.skip("npm is not installed")
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), f"pyodide@{VERSION}"]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"Pyodide could not be fetched: {fetched.stderr[-2000:]}")
        pytest.skip("Pyodide could not be fetched")
    return folder


def test_policies_plan_in_a_browser_as_they_plan_here(pyodide: Path) -> None:
    script = pyodide / "plan.mjs"
    script.write_text(SCRIPT, encoding="utf-8")
    there = subprocess.run([node(), str(script), str(ROOT)], cwd=pyodide, capture_output=True, text=True, check=False)
    assert there.returncode == 0, there.stderr[-4000:]
    here = subprocess.run(
        [sys.executable, "-m", "tests.plans_everywhere"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.splitlines() == here.stdout.splitlines()
    plans = [json.loads(line.partition(": ")[2]) for line in here.stdout.splitlines()]
    assert any(plan["admit"] for plan in plans)
    assert any(plan["put_off"] for plan in plans)
