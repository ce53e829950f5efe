"""Collecting results: notebooks that were handed in are run, and every exercise gets its state."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import grade
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook


def paper(path: Path, *cells: str) -> None:
    path.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in cells]), path)


def test_every_exercise_gets_its_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper(
        tmp_path / "ada" / "zh" / "mixed.ipynb",
        'from cbviz import course\ncourse.language("zh")',
        'course.check("00.win", "A")\ncourse.check("00.win", "D")',
        "1 / 0  # what fails does not keep the rest from being judged",
        'course.check("04.share", 7)',
        'course.check("01.spell", ...)',
    )
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "torn.ipynb").write_text("{")
    assert grade.main([str(tmp_path)]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["learner", "notebook", "exercise", "state"]
    assert sorted(rows[1:]) == [
        ["ada", "mixed.ipynb", "00.win", "right"],
        ["ada", "mixed.ipynb", "01.spell", "not answered"],
        ["ada", "mixed.ipynb", "04.share", "wrong"],
        ["bob", "torn.ipynb", "", "could not be run"],
    ]


@pytest.mark.parametrize("made", [False, True])
def test_nothing_handed_in(made: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "handed_in"
    if made:
        folder.mkdir()
        (folder / "whose.ipynb").write_text("{}")
    assert grade.main([str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert str(folder) in said.err
    assert said.err.count("\n") == 1
