"""Links to Colab and Binder: in every notebook or in none, the same each time; putting them in loses nothing."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import badges
import chinese
import nbformat
import notebook_pairs
import pytest

ADDRESS = "https://github.com/example/cbviz"
NAME = "04_static_batching.ipynb"


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One notebook in both languages, and a pyproject.toml with an address."""
    for language in badges.WORDS:
        (tmp_path / language).mkdir()
        shutil.copy(badges.NOTEBOOKS / language / NAME, tmp_path / language / NAME)
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\n[project.urls]\nRepository = "{ADDRESS}"\n')
    monkeypatch.setattr(badges, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(badges, "PYPROJECT", tmp_path / "pyproject.toml")
    assert badges.main(["--remove"]) == 0
    return tmp_path


def read(course: Path) -> list[nbformat.NotebookNode]:
    return [nbformat.read(course / language / NAME, as_version=4) for language in ("en", "zh")]


def test_the_committed_notebooks_are_as_pyproject_says() -> None:
    assert badges.main(["--check"]) == 0


def test_putting_them_in_keeps_everything_else_and_taking_them_out_gives_it_back(course: Path) -> None:
    before = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    assert badges.main(["--check"]) == 1
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == before, "a check changes nothing"
    assert badges.main([]) == 0
    dressed = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    for old, new in zip(before.values(), read(course), strict=True):
        was = nbformat.reads(old.decode(), as_version=4)
        assert [c.id for c in new.cells] == [was.cells[0].id, "open-it", "install", *(c.id for c in was.cells[1:])]
        outputs = {c.id: [o.get("data", o.get("text")) for o in c.get("outputs", [])] for c in was.cells}
        for cell in new.cells:
            assert [o.get("data", o.get("text")) for o in cell.get("outputs", [])] == outputs.get(cell.id, [])
        counts = [c.execution_count for c in new.cells if c.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))
    assert badges.main(["--check"]) == 0
    assert badges.main([]) == 0
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == dressed, "twice is once"
    assert badges.main(["--remove"]) == 0
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == before


def test_both_languages_stay_a_pair(course: Path) -> None:
    badges.main([])
    en, zh = read(course)
    assert notebook_pairs.stale(en, zh) == []
    assert en.cells[2].source == zh.cells[2].source
    assert chinese.is_chinese(zh.cells[1].source)
    assert chinese.fullwidth(zh.cells[1].source) == zh.cells[1].source
    for language, notebook in (("en", en), ("zh", zh)):
        assert f"/example/cbviz/blob/main/notebooks/{language}/{NAME})" in notebook.cells[1].source
        assert f"/example/cbviz/main?urlpath=lab/tree/notebooks/{language}/{NAME})" in notebook.cells[1].source
        assert "![" not in notebook.cells[1].source, "a picture would come from a network"


@pytest.mark.parametrize("installed", [True, False])
def test_the_cell_installs_only_where_cbviz_is_missing(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    ran: list[tuple[str, str]] = []

    class Shell:
        def run_line_magic(self, name: str, line: str) -> None:
            ran.append((name, line))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    code = badges.cells(ADDRESS, "en", NAME)[1].source
    exec(compile(ast.parse(code), "cell", "exec"), {"get_ipython": Shell})
    assert ran == ([] if installed else [("pip", f"install --quiet 'cbviz[notebook,gguf] @ git+{ADDRESS}'")])


@pytest.mark.parametrize("urls", ["", '[project.urls]\nRepository = "https://example.org/cbviz"\n'])
def test_without_an_address_nothing_is_put_in(urls: str, course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (course / "pyproject.toml").write_text(f'[project]\nname = "x"\n{urls}')
    before = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    assert badges.main([]) == 2
    said = capsys.readouterr().err
    assert "Repository" in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == before
