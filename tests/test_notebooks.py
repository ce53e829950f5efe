"""Committed notebooks: in the one normal form, light, and free of what only one machine or one moment would show."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import normalise_notebooks
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

NOTEBOOKS = sorted(
    path for path in normalise_notebooks.NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

TIMING = re.compile(r"\d\s*(?:ms|µs|seconds?|s)\b|tok(?:en)?s?/s|\d ?× faster|speed-?up\D{0,12}\d", re.IGNORECASE)
RACES = re.compile(r"\b(?:cbviz\.)?(?:race|Board)\(")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def ignored(cell: NotebookNode) -> bool:
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def texts(cell: NotebookNode) -> str:
    """What a cell's saved output says in plain text."""
    return "\n".join(str(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in cell.outputs)


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["00_watch_it.ipynb"]


@every_notebook
def test_is_valid_and_normalised(path: Path) -> None:
    nbformat.validate(read(path))
    assert normalise_notebooks.main([str(path), "--check"]) == 0


@every_notebook
def test_is_light(path: Path) -> None:
    assert path.stat().st_size < 1_000_000


@every_notebook
def test_every_cell_was_run_in_order_without_error(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        errors = [o.ename for o in cell.outputs if o.output_type == "error"]
        assert not errors or "raises-exception" in cell.metadata.get("tags", []), f"{path.name}: {errors}"
        assert not any(o.get("name") == "stderr" for o in cell.outputs), f"{path.name}: a cell wrote to stderr"


@every_notebook
def test_has_no_widget_state(path: Path) -> None:
    raw = path.read_text("utf-8")
    assert "application/vnd.jupyter.widget" not in raw
    assert "widgets" not in read(path).metadata


@every_notebook
def test_names_no_place_on_somebody_s_machine(path: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:work|root|home|Users|tmp|usr|opt)/|[A-Z]:\\\\", path.read_text("utf-8"))


@every_notebook
def test_checked_cells_print_no_timing(path: Path) -> None:
    for cell in code_cells(read(path)):
        if not ignored(cell):
            hit = TIMING.search(texts(cell))
            assert hit is None, f"{path.name}: a checked cell prints a timing: {hit.group(0)!r}"


@every_notebook
def test_cells_that_race_are_ignored_and_a_checked_cell_follows(path: Path) -> None:
    cells = code_cells(read(path))
    for position, cell in enumerate(cells):
        if RACES.search(cell.source) and not any(
            line.startswith(("def ", "class ")) for line in cell.source.splitlines()
        ):
            assert ignored(cell), f"{path.name}: a cell that races must carry nbval-ignore-output:\n{cell.source}"
            following = [later for later in cells[position + 1 : position + 3] if not ignored(later) and later.outputs]
            assert following, f"{path.name}: no checked cell after\n{cell.source}"


def test_the_normaliser_removes_what_is_accidental_and_keeps_the_rest() -> None:
    view = {normalise_notebooks.WIDGET_VIEW: {"model_id": "x"}, "text/plain": "a race"}
    notebook = new_notebook(
        metadata={"widgets": {"state": {}}, "kernelspec": {"name": "mine", "display_name": "mine"}, "colab": {}},
        cells=[
            new_markdown_cell("# Title", metadata={"collapsed": True}),
            new_code_cell(
                "race()",
                execution_count=41,
                metadata={"tags": ["nbval-ignore-output"], "execution": {"iopub.status.busy": "now"}},
                outputs=[
                    new_output("execute_result", data=dict(view), execution_count=41),
                    new_output("display_data", data={normalise_notebooks.WIDGET_VIEW: {"model_id": "y"}}),
                    new_output("stream", name="stdout", text="one\n"),
                    new_output("stream", name="stdout", text="two\n"),
                ],
            ),
            new_code_cell("1 + 1", execution_count=7, outputs=[new_output("execute_result", data={"text/plain": "2"})]),
        ],
    )
    clean = normalise_notebooks.normalised(notebook)
    first, second = code_cells(clean)
    assert set(clean.metadata) == {"kernelspec", "language_info"}
    assert clean.metadata.kernelspec.name == "python3"
    assert clean.cells[0].metadata == {}
    assert first.metadata == {"tags": ["nbval-ignore-output"]}
    assert (first.execution_count, second.execution_count) == (1, 2)
    assert [o.output_type for o in first.outputs] == ["execute_result", "stream"]
    assert first.outputs[0].data == {"text/plain": "a race"}
    assert first.outputs[0].execution_count == 1
    assert first.outputs[1].text == "one\ntwo\n"
    assert normalise_notebooks.normalised(clean) == clean
    assert notebook.cells[1].execution_count == 41, "the original is left alone"


def test_check_reports_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1", execution_count=9)]), path)
    before = path.read_bytes()
    assert normalise_notebooks.main([str(path), "--check"]) == 1
    assert path.read_bytes() == before
    assert "not normalised" in capsys.readouterr().err
    assert normalise_notebooks.main([str(path)]) == 0
    assert normalise_notebooks.main([str(path), "--check"]) == 0


def test_the_readme_shows_the_policy_of_the_first_notebook() -> None:
    """In at most 20 lines, and the one that runs in the notebook."""
    readme = (normalise_notebooks.NOTEBOOKS.parent / "README.md").read_text("utf-8")
    (cell,) = (cell.source for cell in code_cells(read(NOTEBOOKS[0])) if cell.source.startswith("class "))
    assert cell in readme
    assert len(cell.splitlines()) <= 20
