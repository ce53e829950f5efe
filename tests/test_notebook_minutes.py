"""The minutes that a notebook promises are those that its words, code, boards and exercises add up to."""

from __future__ import annotations

import re

import nbformat
import normalise_notebooks
import notebook_minutes
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def test_everything_that_takes_time_is_counted() -> None:
    board = new_output("display_data", data={"text/html": '<div data-cbviz="player"></div>'})
    table = new_output("display_data", data={"text/html": "<table>"})
    folded = {"jupyter": {"source_hidden": True}}
    found = notebook_minutes.reading(
        new_notebook(
            cells=[
                new_markdown_cell('Five words, [one link](https://example.org/a/b) and <b class="cbviz-ref">S3</b>.'),
                new_markdown_cell("四个汉字"),
                new_code_cell("a = 1\n\nb = 2", outputs=[board]),
                new_code_cell("hidden = 3", metadata=folded, outputs=[table]),
                new_code_cell('course.check("00.win", "D")', outputs=[table]),
            ]
        )
    )
    assert found == notebook_minutes.Reading(words=6, signs=4, lines=3, boards=1, outputs=2, exercises=1)
    assert found.minutes == pytest.approx(6 / 180 + 4 / 320 + 3 / 15 + 1 + 0.5 + 2)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("number", [f"{number:02}" for number in range(14)])
def test_a_notebook_that_promises_minutes_keeps_its_promise(language: str, number: str) -> None:
    (path,) = (normalise_notebooks.NOTEBOOKS / language).glob(f"{number}_*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    said = [int(n) for n in re.findall(r"(\d+)(?= for all| minutes| 分钟)", notebook.cells[0].source)]
    assert said, f"{path.name} says no number of minutes"
    assert max(said) == notebook_minutes.reading(notebook).said


def test_the_minutes_that_teachers_read_are_what_the_tool_adds_up() -> None:
    root = normalise_notebooks.NOTEBOOKS.parent
    said = {}
    for path in sorted((normalise_notebooks.NOTEBOOKS / "en").glob("*.ipynb")):
        said[path.name[:2]] = notebook_minutes.reading(nbformat.read(path, as_version=4)).said
    teaching = (root / "TEACHING.md").read_text("utf-8")
    table = teaching[teaching.index("| notebook | minutes |") :].split("\n\n")[0]
    assert {name: int(minutes) for name, minutes in re.findall(r"\| (\d\d) \| (\d+)", table)} == said
    hours, rest = divmod(sum(said.values()), 60)
    numbers = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    assert f"{numbers[hours]} hours and {numbers[rest] if rest <= 10 else rest} minutes in all" in teaching.lower()
    each = f"Fourteen notebooks of {min(said.values())} to {max(said.values())} minutes each"
    assert each in (root / "README.md").read_text("utf-8")
