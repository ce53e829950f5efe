"""What importing costs and needs, seen from processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_house import ROOT, source_files

NOTEBOOK_ONLY = ("anywidget", "ipywidgets", "pandas", "plotly", "IPython", "traitlets")


def test_policies_core_and_observing_never_load_torch() -> None:
    rooms = "cbviz.policies, cbviz.core, cbviz.workload, cbviz.trace, cbviz.measure"
    code = f"import sys, {rooms}; print('torch' in sys.modules or 'transformers' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"


def test_a_bare_machine_can_run_everything_but_the_widget() -> None:
    """Every module outside view imports, and the public face races, without anything of Jupyter being installed."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in source_files()
        if "view" not in path.parts and path.name != "__main__.py"
    ]
    code = f"""
import importlib, sys
class Bare:
    # Finds what the finder below it finds, save what a bare machine has not.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {NOTEBOOK_ONLY!r} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Bare, sys.meta_path)
for name in {modules!r}:
    importlib.import_module(name)
import cbviz
cbviz.race
print("alive")
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "alive", run.stderr


def test_importing_cbviz_is_quick_because_it_is_lazy() -> None:
    code = "import sys, cbviz; print([m for m in ('torch', 'transformers', 'numpy', 'rich') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["cbviz.run.race", "cbviz.eager.kv_cache", "cbviz.cuda.graph_executor"])
def test_importing_says_nothing(module: str) -> None:
    """Whichever room is imported first: what transformers and torchao print on import stays out of a learner's cell."""
    run = subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_names_of_the_package_are_listed_once() -> None:
    program = "import cbviz; cbviz.race; cbviz.policies; cbviz.Trace; print(len(dir(cbviz)) - len(set(dir(cbviz))))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "0\n"
