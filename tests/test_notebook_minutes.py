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
@pytest.mark.parametrize("number", ["00", "01"])
def test_a_notebook_that_promises_minutes_keeps_its_promise(language: str, number: str) -> None:
    (path,) = (normalise_notebooks.NOTEBOOKS / language).glob(f"{number}_*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    said = [int(n) for n in re.findall(r"(\d+)(?= for all| minutes| 分钟)", notebook.cells[0].source)]
    assert said, f"{path.name} says no number of minutes"
    assert max(said) == notebook_minutes.reading(notebook).said
