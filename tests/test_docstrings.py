"""Every public definition has a docstring, with its parameters, results and errors in numpy's sections."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import cbviz
from cbviz import errors

ROOT = Path(__file__).resolve().parents[1]
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)}

POINTER = re.compile(r"\b[Ss]ee `[\w.]+`")
"""A docstring that refers to another one needs no sections of its own."""


def names_in_notebooks() -> Iterator[str]:
    """Dotted names of cbviz that the code cells of the course import or use."""
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            try:
                tree = ast.parse("".join(cell["source"])) if cell["cell_type"] == "code" else ast.Module([], [])
            except SyntaxError:  # a cell with a magic command, or with a gap that a student fills
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cbviz"):
                    yield from (f"{node.module}.{alias.name}" for alias in node.names)
                elif isinstance(node, ast.Attribute) and re.fullmatch(r"(cbviz|course)(\.\w+)+", ast.unparse(node)):
                    yield re.sub(r"^course\b", "cbviz.course", ast.unparse(node))


def public_names() -> set[str]:
    """The names of `cbviz`, of docs/api.md, of the notebooks, and of each package's `__all__`."""
    names = {f"cbviz.{name}" for name in cbviz.__all__} | set(names_in_notebooks())
    names |= set(re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE))
    for path in (ROOT / "cbviz").glob("*/__init__.py"):
        package = importlib.import_module(f"cbviz.{path.parent.name}")
        names |= {f"{package.__name__}.{name}" for name in getattr(package, "__all__", ())}
    return names


def found(name: str) -> Any:
    """What a dotted name refers to: a module may share its name with a function that its package exports."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[length:], value)
    raise AssertionError(f"{name} is not in cbviz.")


@functools.cache
def public() -> dict[str, Any]:
    """The public classes and functions of cbviz by module and name, each once."""
    values = [found(name) for name in sorted(public_names())]
    return {
        f"{value.__module__}.{value.__qualname__}": value
        for value in values
        if isinstance(value, type | FunctionType) and value.__module__.startswith("cbviz.")
    }


def raised(function: Any) -> set[str]:
    """The errors of `cbviz.errors` that a function raises in its own body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc.func for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {call.id for call in calls if isinstance(call, ast.Name)} & ERRORS


def lacks_of_function(name: str, function: Any) -> Iterator[str]:
    """What the docstring of a function or method lacks."""
    doc = inspect.cleandoc(function.__doc__ or "")
    if not doc:
        yield f"{name} has no docstring"
        return
    if POINTER.search(doc):
        return
    signature = inspect.signature(function)
    parameters = [name for name in signature.parameters if name not in ("self", "cls")]
    returned = str(signature.return_annotation).removeprefix("typing.")
    for wanted, section in (
        (bool(parameters), "Parameters"),
        (returned not in ("None", "NoReturn", str(inspect.Signature.empty)), "Returns"),
        (bool(raised(function)), "Raises"),
    ):
        if wanted and f"{section}\n{'-' * len(section)}" not in doc:
            yield f"{name} has no section {section}"


def lacks_of_class(name: str, kind: type) -> Iterator[str]:
    """What the docstrings of a class, its constructor and its public methods lack."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    if not doc or doc.startswith(f"{kind.__name__}("):  # what a dataclass or a named tuple writes by itself
        yield f"{name} has no docstring"
    for method in ("__init__", "__post_init__"):
        made = vars(kind).get(method)
        if isinstance(made, FunctionType) and made.__code__.co_filename == inspect.getfile(kind):
            if raised(made) and "Raises\n------" not in f"{doc}\n{inspect.cleandoc(made.__doc__ or '')}":
                yield f"{name} has no section Raises"
            parameters = list(inspect.signature(made).parameters)[1:]
            if parameters and "Parameters\n----------" not in f"{doc}\n{inspect.cleandoc(made.__doc__ or '')}":
                yield f"{name} has no section Parameters"
    for member, value in vars(kind).items():
        if member.startswith("_"):
            continue
        if isinstance(value, property | functools.cached_property):
            if not (value.__doc__ or "").strip():
                yield f"{name}.{member} has no docstring"
        elif isinstance(function := getattr(value, "__func__", value), FunctionType):
            yield from lacks_of_function(f"{name}.{member}", function)


def lacks(room: str) -> list[str]:
    """Everything that the docstrings of the public definitions in a room lack."""
    complaints: list[str] = []
    for name, value in public().items():
        if name.startswith(f"cbviz.{room}."):
            complaints += lacks_of_class(name, value) if isinstance(value, type) else lacks_of_function(name, value)
    return complaints


ROOMS = sorted({name.split(".")[1] for name in public()})


def test_there_are_public_definitions() -> None:
    assert len(public()) > 100


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_are_complete(room: str) -> None:
    assert lacks(room) == []
