"""One meaning a name: no two classes of cbviz share one, nor do two constants that could be mistaken for each other."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "cbviz"

# A class that several files define because each of them needs one of its own: the reason.
CLASSES: dict[str, str] = {}

# The same for constants of modules.
CONSTANTS = {
    "CLOCKS": "what a trace file may say, and the words for it on the board",
    "ENOUGH": "seconds of a race, and samples of a tokenizer: both are documented where they stand",
    "FOLDER": "each room's own folder of files",
    "FONT": "of charts in SVG, and of pictures in pixels",
    "HARMLESS": "settings of a generation config, and keywords of an attention call",
    "LONGEST": "text in an error message, and a probe's prompt",
    "MOST_LANES": "a race's, and the player's",
    "MOST_REPEATS": "of timed runs, and of a repeated word in a task",
    "MOST_REQUESTS": "a workload's own bounds come before those of any engine",
    "MOST_TOKENS": "a workload's own bounds come before those of any engine",
    "NO_BUDGET": "a policy's own reason: each policy's file stands alone, so that two can be compared",
    "UNTIL_LONGEST": "the same",
    "EXERCISES": "a lesson's own exercises, which `course.lessons` collects",
    "BLOCKS": "an option's type in `cli.options`, the memory of the capstone",
    "SEEDS": "of the practice game, and of the capstone",
    "BLOCK_SIZE": "an option's type in `cli.options`, the defaults of `bench`",
    "REPEATS": "an option's type in `cli.options`, the defaults of `bench` and `race`",
    "REQUESTS": "an option's type in `cli.options`, the defaults of the benchmarks",
    "SLOTS": "an option's type in `cli.options`, the defaults of the benchmarks",
    "TOKENS": "an option's type in `cli.options`, the tokens of a probe in `models.half`",
}


def defined(names: Callable[[ast.stmt], list[str]]) -> dict[str, list[str]]:
    """Name → the files that define it at their top level."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for statement in ast.parse(path.read_text("utf-8")).body:
            for name in names(statement):
                found[name].append(str(path.relative_to(PACKAGE)))
    return found


def classes(statement: ast.stmt) -> list[str]:
    return [statement.name] if isinstance(statement, ast.ClassDef) else []


def constants(statement: ast.stmt) -> list[str]:
    """Public constants: names in capitals that a statement assigns."""
    targets: Iterator[ast.expr] = iter(())
    if isinstance(statement, ast.Assign):
        targets = iter(statement.targets)
    elif isinstance(statement, ast.AnnAssign):
        targets = iter([statement.target])
    return [t.id for t in targets if isinstance(t, ast.Name) and t.id.isupper() and not t.id.startswith("_")]


def twice(found: dict[str, list[str]], allowed: dict[str, str]) -> dict[str, list[str]]:
    return {name: files for name, files in found.items() if len(set(files)) > 1 and name not in allowed}


def test_no_two_classes_share_a_name() -> None:
    found = defined(classes)
    assert not twice(found, CLASSES)
    assert {name for name in CLASSES if len(set(found[name])) < 2} == set(), "allowed without need"


def test_no_two_constants_share_a_name() -> None:
    found = defined(constants)
    assert not twice(found, CONSTANTS)
    assert {name for name in CONSTANTS if len(set(found[name])) < 2} == set(), "allowed without need"
    assert "PATIENCE" not in found
