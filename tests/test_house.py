"""The house rules that no single file can check: who may import whom, what a bare machine needs, what is never said."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import cbviz
from cbviz import _moved

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cbviz"

# The import table: a room may import the rooms that are listed for it and the open modules, and nothing else of
# cbviz. Rooms stand in the order of the way of a request; `run` is the first that knows both columns.
SPEAK = {"workload"}
COMPUTE = SPEAK | {"models", "policies", "core", "eager", "cuda", "simulator"}
OBSERVE = SPEAK | {"trace", "measure", "view"}
ROOMS: dict[str, set[str]] = {
    "workload": set(),
    "models": set(),
    # computing
    "policies": SPEAK,
    "core": SPEAK | {"policies"},
    "eager": SPEAK | {"models", "policies", "core"},
    "cuda": SPEAK | {"models", "policies", "core", "eager"},
    "simulator": SPEAK | {"policies", "core"},
    # observing
    "trace": SPEAK,
    "measure": SPEAK | {"trace"},
    "view": SPEAK | {"trace", "measure"},
    # both
    "run": COMPUTE | OBSERVE,
    "adapters": COMPUTE | OBSERVE | {"run"},
    "course": COMPUTE | OBSERVE | {"run"},
    "cli": (COMPUTE | OBSERVE | {"run", "adapters", "lab", "slides"}) - {"core", "eager", "cuda"},
}
# Open to every room; they import no room themselves.
OPEN = {
    "_early",
    "_moved",
    "_version",
    "checks",
    "config",
    "errors",
    "events",
    "jit",
    "limits",
    "messages",
    "paths",
    "reason",
    "worker",
}


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
    assert rooms == set(ROOMS) | {"messages"}


def test_the_open_modules_import_no_room() -> None:
    for name in OPEN:
        path = PACKAGE / name / "__init__.py" if (PACKAGE / name).is_dir() else PACKAGE / f"{name}.py"
        assert imported_rooms(path) <= OPEN


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    allowed = ROOMS[room] | {room} | OPEN
    for path in (PACKAGE / room).rglob("*.py"):
        beyond = imported_rooms(path) - allowed
        assert not beyond, f"{path.relative_to(ROOT)} imports {', '.join(sorted(beyond))}; it may only import {allowed}"


def test_computing_and_observing_never_import_each_other() -> None:
    for room in COMPUTE - SPEAK:
        assert not ROOMS[room] & (OBSERVE - SPEAK)
    for room in OBSERVE - SPEAK:
        assert not ROOMS[room] & (COMPUTE - SPEAK)


def test_the_rooms_have_no_circle() -> None:
    standing: set[str] = set()
    rooms = {room: below & set(ROOMS) for room, below in ROOMS.items()}  # the command line may import single modules
    while ready := {room for room, below in rooms.items() if room not in standing and below <= standing}:
        standing |= ready
    assert standing == set(ROOMS)


def file_imports() -> dict[str, set[str]]:
    """Module → the modules of cbviz that its file imports, in functions as well, save under `if TYPE_CHECKING:`."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in source_files()
    }
    found: dict[str, set[str]] = {}

    def visit(node: ast.AST, module: str) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found[module].update(alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found[module].update(names & modules.keys() or {node.module})
        for child in ast.iter_child_nodes(node):
            visit(child, module)

    for module, path in modules.items():
        found[module] = set()
        visit(ast.parse(path.read_text("utf-8"), str(path)), module)
    return found


def test_no_two_files_need_each_other() -> None:
    imports = file_imports()
    assert imports["cbviz.core.engine"]
    while ready := [module for module, below in imports.items() if not below & imports.keys()]:
        for module in ready:
            del imports[module]
    circle = sorted(imports)  # files on a circle of imports, and those that import them
    assert not circle


def test_nothing_imports_the_public_face() -> None:
    """`cbviz/__init__.py` names what lies in the rooms; a room that imported it would turn the arrow round."""
    imports = file_imports()
    assert not [module for module, below in imports.items() if "cbviz" in below]


def test_no_file_names_a_place_on_one_machine() -> None:
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


# Dependencies that no file imports by name, and why they are there.
NOT_IMPORTED = {
    "accelerate": "transformers asks for it when it reads a GGUF file",
    "hatchling": "builds the wheel, in tests without a network",
    "jieba": "mkdocs-material divides Chinese into words with it",
    "mkdocs-material": "the theme that mkdocs.yml names",
    "mkdocstrings": "the plugin that mkdocs.yml names",
    "mkdocstrings-python": "its reader of Python",
    "mypy": "a command",
    "nbval": "a plugin of pytest",
    "pandas-stubs": "what mypy knows of pandas",
    "pytest-playwright": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a command",
}
MODULE_OF = {"pillow": "PIL"}  # where the module has another name than its distribution


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {Requirement(line).name for group in groups for line in group} - {"cbviz"}
    imported: set[str] = set()
    for folder in ("cbviz", "benchmarks", "tools", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
                if isinstance(node, ast.Import):
                    imported.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.split(".")[0])
    unused = {name for name in wanted if MODULE_OF.get(name, name.replace("-", "_")) not in imported}
    assert unused == set(NOT_IMPORTED)


def test_the_changelog_knows_the_version() -> None:
    assert f"## {cbviz.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_public_names_are_where_the_type_checker_finds_them() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    imported = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    home = dict(cbviz._HOME)
    assert {name: imported[name] for name in home} == home
    for name, room in home.items():
        assert getattr(cbviz, name) is getattr(importlib.import_module(room), name)
        assert name in dir(cbviz)


def test_no_folder_takes_the_place_of_a_name_of_its_package() -> None:
    """Python imports any folder as a module, and then the module hides a function of the same name."""
    for path in PACKAGE.rglob("*/__init__.py"):
        package = importlib.import_module(".".join(path.parent.relative_to(PACKAGE.parent).parts))
        for name in getattr(package, "__all__", ()):
            before = getattr(package, name)
            if (path.parent / name).is_dir() or (path.parent / f"{name}.py").exists():
                importlib.import_module(f"{package.__name__}.{name}")
            assert getattr(package, name) is before, f"import {package.__name__}.{name} hides what it exports"


def documented() -> list[str]:
    return re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)


def test_a_package_gives_the_function_and_not_the_module_of_its_name() -> None:
    """`from cbviz.run import race`, before `cbviz.run.race` was imported and after."""
    found = {}
    for path in documented():
        home, _, name = path.rpartition(".")
        if home.endswith(f".{name}"):
            room = home.rpartition(".")[0]
            found[room, name] = getattr(importlib.import_module(home), name)
            assert getattr(importlib.import_module(room), name) is found[room, name]
    assert ("cbviz.run", "disaggregate") in found
    lines = [f"from {room} import {name}; print(type({name}).__name__)" for room, name in found]
    fresh = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert fresh.stdout.split() == ["function"] * len(found)


def test_the_room_that_runs_gives_every_function_that_is_documented() -> None:
    run = importlib.import_module("cbviz.run")
    functions = {
        name
        for home, _, name in (path.rpartition(".") for path in documented() if path.startswith("cbviz.run."))
        if inspect.isfunction(getattr(importlib.import_module(home), name))
    }
    assert functions == set(run._HOME)
    for name in functions:
        assert getattr(run, name) is getattr(importlib.import_module(f"cbviz.run.{run._HOME[name]}"), name)
    with pytest.raises(AttributeError, match=r"cbviz\.run has no 'rase'; it has bench, "):
        run.rase  # noqa: B018


def test_an_unknown_name_is_refused_in_one_sentence() -> None:
    with pytest.raises(AttributeError, match=r"^cbviz has no 'rase'; it has .*race"):
        cbviz.rase  # noqa: B018


OLD_PACKAGES = {
    "board": ["Board", "LiveBoard", "Knob"],
    "engine": ["Engine", "Executor", "NullExecutor", "Result", "Seat", "Step"],
    "engine.attention": ["AttentionBackend", "RaggedBatch", "SdpaAttention"],
    "engine.graphs": ["GraphExecutor", "why_no_graphs"],
    "experiments": [],
    "memory": ["ROOT", "BlockPool", "KVOptions", "Preemption", "PrefixIndex", "chained"],
}


@pytest.mark.parametrize("old", _moved.MODULES)
def test_an_old_module_is_the_new_one_with_a_warning(old: str) -> None:
    new = _moved.MODULES[old]
    sys.modules.pop(f"cbviz.{old}", None)
    with pytest.warns(FutureWarning, match=rf"^cbviz\.{re.escape(old)} is now cbviz\.{re.escape(new)}; "):
        module = importlib.import_module(f"cbviz.{old}")
    assert module is importlib.import_module(f"cbviz.{new}")


def test_an_old_package_has_its_old_names_and_no_others() -> None:
    assert set(OLD_PACKAGES) == set(_moved.PACKAGES)
    for old, names in OLD_PACKAGES.items():
        package = importlib.import_module(f"cbviz.{old}")
        for name in names:
            with pytest.warns(FutureWarning, match=rf"^cbviz\.{re.escape(old)}\.{name} is now cbviz\."):
                assert hasattr(package, name)
        assert not hasattr(package, "nothing")
        with pytest.raises(ImportError):
            importlib.import_module(f"cbviz.{old}.nothing")


@pytest.mark.parametrize("old", _moved.NAMES)
def test_an_old_name_is_the_new_one_with_a_warning(old: str) -> None:
    room, _, name = old.partition(".")
    new = _moved.NAMES[old]
    with pytest.warns(FutureWarning, match=re.escape(f"cbviz.{old} is now cbviz.{new}.{name}; ")):
        value = importlib.import_module(f"cbviz.{room}").__getattr__(name)
    assert value is getattr(importlib.import_module(f"cbviz.{new}"), name)


@pytest.mark.parametrize("old", _moved.RENAMED)
def test_a_renamed_name_is_the_new_one_with_a_warning(old: str) -> None:
    module, _, name = old.rpartition(".")
    home, _, now = _moved.RENAMED[old].rpartition(".")
    with pytest.warns(FutureWarning, match=re.escape(f"cbviz.{old} is now cbviz.{home}.{now}; ")):
        value = getattr(importlib.import_module(f"cbviz.{module}"), name)
    assert value is getattr(importlib.import_module(f"cbviz.{home}"), now)
