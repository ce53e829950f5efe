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


SCHEDULER = """import cbviz
from cbviz import course
from tests.capstone_solutions import OldestOverdue
scheduler = {policy}
course.grade(scheduler, seeds=[1])"""


def test_the_capstone_is_graded_on_hidden_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for learner, policy in {"ada": "OldestOverdue()", "bob": '"vllm_v1"', "cy": "...", "di": "1 / 0"}.items():
        paper(tmp_path / "in" / learner / "11.ipynb", SCHEDULER.format(policy=policy))
    assert grade.main([str(tmp_path / "in"), "--seeds", "81100003,29000017"]) == 0
    said = capsys.readouterr()
    assert list(csv.reader(io.StringIO(said.out)))[1:] == [
        ["ada", "11.ipynb", "11.capstone", "right"],
        ["bob", "11.ipynb", "11.capstone", "wrong"],
        ["cy", "11.ipynb", "11.capstone", "not answered"],
        ["di", "11.ipynb", "11.capstone", "not answered"],
    ]
    assert said.err == "Capstone: --seeds 81100003,29000017\n"


@pytest.mark.parametrize(
    "cheat",
    [
        "from cbviz.policies import VllmV1\nVllmV1.plan = lambda self, view: cbviz.Plan(admit=view.fitting()[:1])",
        "from cbviz.course import capstone\ncapstone.yardstick = lambda seed: capstone.Waits(1e9, 1e9)",
        "course.grade.__kwdefaults__['mean'] = 100",
        "print = lambda *texts: __import__('sys').stdout.write('right')\ncourse.grade = lambda *_, **__: print()",
    ],
)
def test_code_that_a_cell_replaced_is_no_grade(cheat: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper(tmp_path / "in" / "eve" / "11.ipynb", SCHEDULER.format(policy='"continuous"'), f"import cbviz\n{cheat}")
    assert grade.main([str(tmp_path / "in"), "--seeds", "811"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1:] == ["eve,11.ipynb,11.capstone,changed cbviz"]
    assert "A seed below 10,000,000 can be found by trying all" in said.err
    assert "a cell replaced cbviz." in said.err


def test_a_grader_s_own_workload_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def requests(seed):\n    raise SystemExit('asked')\n")
    paper(tmp_path / "in" / "ada" / "11.ipynb", SCHEDULER.format(policy="OldestOverdue()"))
    assert grade.main([str(tmp_path / "in"), "--seeds", "3", "--workload", str(mine)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["ada,11.ipynb,11.capstone,could not be run"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seeds", "x"], "a seed must be a whole number"),
        (["--seeds", ","], "--seeds must name at least one seed"),
        (["--workload", "nowhere.py"], "nowhere.py is no file"),
    ],
)
def test_a_grader_s_mistake_gets_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper(tmp_path / "ada" / "11.ipynb", "1")
    assert grade.main([str(tmp_path), *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.count("\n") == 1


def test_seeds_are_drawn_anew() -> None:
    assert grade.seeds_of(None) != grade.seeds_of(None)
    assert len(set(grade.seeds_of(None))) == grade.DRAWN
