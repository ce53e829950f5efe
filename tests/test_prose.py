"""Plain English: the words that hide which request, row, caller or reader a sentence is about are counted.

`nobody enters; whoever runs, goes on` leaves a reader guessing; `no request is admitted; running requests carry on`
does not. A file that needs one of the words says why in `ALLOWED`. Saved outputs of notebooks are not read: what they
say comes from `cbviz`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TREES = (
    "README.md",
    "CONTRIBUTING.md",
    "TEACHING.md",
    "CHANGELOG.md",
    "mkdocs.yml",
    "docs",
    "notebooks",
    "binder",
    "benchmarks",
    "cbviz",
    "tests",
    "tools",
    ".ci",
    ".github",
    "Makefile",
    "conftest.py",
    "pyproject.toml",
)
"""Files, and folders with all text files below them."""

ALLOWED: dict[str, tuple[int, str]] = {
    "CHANGELOG.md": (1, "the former name NOBODY"),
    "cbviz/_moved.py": (2, "the former name NOBODY of events and trace"),
}
"""How often a file may use the words, and why; the file's name may be a pattern."""

WORDS = re.compile(r"(?<![a-z])(somebody|nobody|whoever|told|stranger|in[\s#*/]+vain)(?![a-z])", re.IGNORECASE)
SUFFIXES = {"", ".cfg", ".css", ".ipynb", ".js", ".json", ".md", ".mjs", ".py", ".sh", ".toml", ".txt", ".yml"}


def files() -> list[Path]:
    """Every text file of `TREES` but this one."""

    def below(place: Path) -> Iterator[Path]:
        if place.is_file():
            yield place
        for path in sorted(place.rglob("*")) if place.is_dir() else ():
            hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
            if path.is_file() and path.suffix in SUFFIXES and not hidden:
                yield path

    return [path for tree in TREES for path in below(ROOT / tree) if path != Path(__file__).resolve()]


def written(path: Path) -> str:
    """What people wrote in a file; of a notebook the source of its cells."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def allowed(path: Path) -> int:
    name = path.relative_to(ROOT)
    return next((count for pattern, (count, _) in ALLOWED.items() if name.match(pattern)), 0)


def test_sentences_say_which_request_or_reader_they_mean() -> None:
    found = {path: WORDS.findall(written(path)) for path in files()}
    wrong = {str(path.relative_to(ROOT)): words for path, words in found.items() if len(words) != allowed(path)}
    assert not wrong, "say request, row, caller, the policy, …; or correct ALLOWED"


def test_every_tree_and_every_exception_exists() -> None:
    assert all((ROOT / tree).exists() for tree in TREES)
    for pattern in ALLOWED:
        assert any(path.relative_to(ROOT).match(pattern) for path in files()), pattern


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Nobody waits.", 1),
        ("a slot is computed in\n    # vain", 1),
        ("told = nobody_waits", 2),
        ("it retold an untold story of invaders", 0),
        ('{"cells": [{"source": ["whoever\\n", "a stranger"], "outputs": ["nobody"]}]}', 2),
    ],
)
def test_what_is_counted(text: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / ("x.ipynb" if text.startswith("{") else "x.md")
    path.write_text(text, "utf-8")
    assert len(WORDS.findall(written(path))) == count
