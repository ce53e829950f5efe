"""The house rules that no single file can check: who may import whom, what a bare machine needs, what is never said."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import cbviz

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cbviz"

# Which rooms a room may import; a room that is not named here may not exist. The modules of `OPEN` are
# open to every room and import no room themselves.
ROOMS: dict[str, set[str]] = {
    "workload": set(),
    "models": set(),
    "memory": {"workload"},
    "trace": {"workload"},
    "policies": {"workload", "memory"},
    "engine": {"workload", "memory", "policies", "trace", "models"},
    "measure": {"workload", "trace"},
    "experiments": {"workload", "memory", "policies", "trace", "models", "engine", "measure", "board"},
    "board": {"workload", "trace", "measure"},
    "course": {"workload", "memory", "policies", "trace", "models", "engine", "measure", "experiments", "board"},
    "cli": {
        "workload",
        "policies",
        "trace",
        "models",
        "measure",
        "experiments",
        "board",
        "lab",
        "slides",
        "__version__",
    },
}
OPEN = {"checks", "errors", "limits", "paths"}
NOTEBOOK_ONLY = ("anywidget", "ipywidgets", "pandas", "plotly", "IPython", "traitlets")


def source_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """The rooms of cbviz that a file imports, anywhere in it, save under `if TYPE_CHECKING:`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: write imports in full, not relative."
            module = node.module or ""
            names = [f"cbviz.{alias.name}" for alias in node.names] if module == "cbviz" else [module]
        found.update(name.split(".")[1] for name in names if name.startswith("cbviz."))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8"), str(path)))
    return found


def committed_files() -> list[Path]:
    """What git knows; in an unpacked source distribution, everything."""
    if not (ROOT / ".git").exists():
        return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def test_every_room_is_known() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ROOMS)


def test_the_open_modules_import_no_room() -> None:
    for name in OPEN:
        assert imported_rooms(PACKAGE / f"{name}.py") <= OPEN


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    allowed = ROOMS[room] | {room} | OPEN
    for path in (PACKAGE / room).rglob("*.py"):
        beyond = imported_rooms(path) - allowed
        assert not beyond, f"{path.relative_to(ROOT)} imports {', '.join(sorted(beyond))}; it may only import {allowed}"


def test_the_rooms_have_no_circle() -> None:
    standing: set[str] = set()
    rooms = {room: below & set(ROOMS) for room, below in ROOMS.items()}  # the command line may import single modules
    while ready := {room for room, below in rooms.items() if room not in standing and below <= standing}:
        standing |= ready
    assert standing == set(ROOMS)


def test_policies_memory_and_workload_never_load_torch() -> None:
    rooms = "cbviz.policies, cbviz.memory, cbviz.workload, cbviz.trace, cbviz.measure"
    code = f"import sys, {rooms}; print('torch' in sys.modules or 'transformers' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"


def test_a_bare_machine_can_run_everything_but_the_widget() -> None:
    """Every module outside board imports, and the public face races, without anything of Jupyter being installed."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in source_files()
        if "board" not in path.parts and path.name != "__main__.py"
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


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    place = re.compile(rb"(?<![\w.])/(?:work|root|home|Users|private/tmp|tmp)/[\w.]|(?<!\w)[A-Z]:\\\\?Users")
    this = Path(__file__).resolve()
    guilty = [
        f"{path.relative_to(ROOT)}: {hit.group(0).decode('ascii', 'replace')}"
        for path in committed_files()
        if path != this and (hit := place.search(path.read_bytes()))
    ]
    assert not guilty


def test_the_constraints_satisfy_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert version, f"constraints.txt: {line!r} is no exact pin"
            pins[name.lower().replace("_", "-")] = version
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [Requirement(line) for group in groups for line in group]
    for requirement in wanted:
        name = requirement.name.lower().replace("_", "-")
        if name == "cbviz":
            continue
        assert name in pins, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(pins[name]), f"{requirement} is not satisfied by {pins[name]}"
    assert pins["torch"] == "2.13.0"


def test_the_changelog_knows_the_version() -> None:
    assert f"## {cbviz.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_public_names_are_where_the_type_checker_is_told() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    told = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    home = dict(cbviz._HOME)
    assert {name: told[name] for name in home} == home
    for name, room in home.items():
        assert getattr(cbviz, name) is getattr(importlib.import_module(room), name)
        assert name in dir(cbviz)


def test_an_unknown_name_is_refused_in_one_sentence() -> None:
    with pytest.raises(AttributeError, match=r"^cbviz has no 'rase'; it has .*race"):
        cbviz.rase  # noqa: B018
