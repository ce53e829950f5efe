"""Committed notebooks: in the one normal form, light, and free of what only one machine or one moment would show."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import chinese
import nbformat
import normalise_notebooks
import notebook_minutes
import notebook_pairs
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cbviz import messages
from cbviz.course.exercise import exercises

NOTEBOOKS = sorted(
    path for path in normalise_notebooks.NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
every_pair = pytest.mark.parametrize(
    "name", sorted({path.name for path in NOTEBOOKS if path.parent.name in ("en", "zh")}), ids=lambda name: name[:2]
)

TIMING = re.compile(
    r"\d ?(?:ms|µs|s|seconds?|毫秒|微秒|秒)(?![\w-])|tok(?:en)?s?/s|\d ?× faster|speed-?up in time\D{0,12}\d"
)
COURSE = {
    "00_watch_it.ipynb",
    "01_one_token_at_a_time.ipynb",
    "02_why_decode_is_slow.ipynb",
    "03_what_fits.ipynb",
    "04_static_batching.ipynb",
    "05_continuous_batching.ipynb",
    "06_prefill_gets_in_the_way.ipynb",
    "07_paging.ipynb",
    "08_sharing_and_giving_back.ipynb",
    "09_where_23x_comes_from.ipynb",
    "10_under_load.ipynb",
    "11_your_scheduler.ipynb",
    "12_beyond.ipynb",
    "13_their_engines.ipynb",
}
MOST_LINES = 60
"""Lines of code in sight, at most, beside those cells of a notebook that are its lesson."""
LESSON = {
    "01": {"loop", "cached-loop"},
    "05": {"rule"},
    "11": {"three-policies", "try-single", "try-sooner", "try-fewer", "try-capstone"},
}
CDN = re.compile(r"cdn\.|unpkg\.com|jsdelivr|cdnjs|esm\.sh|skypack|<(?:script|link|iframe)[^>]+https?://")
"""What a page would fetch when it is shown: libraries from a content network, plotly's among them."""
BOARD = re.compile(r'data-cbviz="player"')


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
    assert {path.name for path in NOTEBOOKS} <= COURSE
    assert [path.parent.name for path in NOTEBOOKS if path.name == "00_watch_it.ipynb"] == ["en", "zh"]
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
    assert "LiveBoard(" not in raw, "a live run was saved before its recording had taken its place"
    assert "widgets" not in read(path).metadata


@every_notebook
def test_outputs_are_small_and_ask_no_network_for_anything(path: Path) -> None:
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            raw = json.dumps(output)
            assert len(raw) < 1_000_000, f"{path.name}: cell {cell.id} shows {len(raw):,} bytes"
            found = CDN.search(raw)
            assert not found, f"{path.name}: cell {cell.id} loads something from {found and found[0]}"


@every_notebook
def test_names_no_path_of_one_machine(path: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:work|root|home|Users|tmp|usr|opt)/|[A-Z]:\\\\", path.read_text("utf-8"))


@every_notebook
def test_checked_cells_print_no_timing(path: Path) -> None:
    for cell in code_cells(read(path)):
        if not ignored(cell):
            hit = TIMING.search(texts(cell))
            assert hit is None, f"{path.name}: a checked cell prints a timing: {hit.group(0)!r}"


@every_notebook
def test_cells_that_show_a_board_are_ignored_and_a_checked_cell_follows(path: Path) -> None:
    cells = code_cells(read(path))
    for position, cell in enumerate(cells):
        if any(BOARD.search(str(output.get("data", ""))) for output in cell.outputs):
            assert ignored(cell), f"{path.name}: a board holds timings; tag nbval-ignore-output:\n{cell.source}"
            following = [later for later in cells[position + 1 : position + 3] if not ignored(later) and later.outputs]
            assert following, f"{path.name}: no checked cell after\n{cell.source}"


@every_notebook
def test_little_code_is_in_sight(path: Path) -> None:
    """What a reader need not read is folded, or one call; the loop and the policies are what the lesson is about."""
    shown = [cell for cell in code_cells(read(path)) if cell.id not in LESSON.get(path.name[:2], ())]
    lines = notebook_minutes.reading(new_notebook(cells=shown)).lines
    assert lines <= MOST_LINES, f"{path.name} shows {lines} lines of code"


@every_pair
def test_both_languages_have_the_same_cells(name: str) -> None:
    """The same ids in the same order, the same tags, the same code but for the language, and every output in both."""
    en, zh = (read(normalise_notebooks.NOTEBOOKS / language / name) for language in ("en", "zh"))
    assert [(cell.id, cell.cell_type) for cell in en.cells] == [(cell.id, cell.cell_type) for cell in zh.cells]
    languages = 0
    for english, translated in zip(code_cells(en), code_cells(zh), strict=True):
        assert translated.source == notebook_pairs.in_chinese(english.source), f"{name}: code of {english.id} differs"
        languages += translated.source != english.source
        for key in ("tags", "jupyter"):
            assert translated.metadata.get(key) == english.metadata.get(key), f"{name}: {key} of {english.id} differ"
        kinds = [[sorted(o.get("data", {})) or o.output_type for o in cell.outputs] for cell in (english, translated)]
        assert kinds[0] == kinds[1], f"{name}: {english.id} has other outputs in Chinese"
    assert languages == 1, f"{name}: one cell, and one only, says the language"


@every_pair
def test_no_translation_is_stale(name: str) -> None:
    en, zh = (read(normalise_notebooks.NOTEBOOKS / language / name) for language in ("en", "zh"))
    assert notebook_pairs.stale(en, zh) == [], f"{name}: these cells have changed in English since they were translated"


@every_pair
def test_the_chinese_is_chinese(name: str) -> None:
    """Every text cell has Chinese in it, with Chinese punctuation; the words of the trade are the agreed ones."""
    for cell in read(normalise_notebooks.NOTEBOOKS / "zh" / name).cells:
        if cell.cell_type == "markdown":
            assert chinese.is_chinese(cell.source), f"{name}: {cell.id} is not translated"
            assert chinese.fullwidth(cell.source) == cell.source, f"{name}: punctuation of {cell.id}"
            for wrong, right in (("推断", "推理"), ("连续批量", "连续批处理"), ("令牌", "token"), ("抢先", "抢占")):
                assert wrong not in cell.source, f"{name}: {cell.id} says {wrong}, the course says {right}"


@every_pair
def test_headings_of_tables_are_translated(name: str) -> None:
    """Words that stand as they are in the code of `course.table` must be in the table of terms."""
    for cell in code_cells(read(normalise_notebooks.NOTEBOOKS / "en" / name)):
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "course.table":
                words = {n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                unknown = {w for w in words if re.fullmatch(r"[A-Za-z][a-z -]{2,}", w)} - {
                    key.removeprefix("term.") for key in messages.lines("en")
                }
                assert not unknown, f"{name}: {cell.id} shows {unknown}, which the catalogue has no term. line for"


@every_pair
def test_every_exercise_of_a_notebook_is_asked_there(name: str) -> None:
    source = "\n".join(cell.source for cell in code_cells(read(normalise_notebooks.NOTEBOOKS / "en" / name)))
    asked = set(re.findall(r'course\.check\("([^"]+)"', source))
    assert asked == {exercise for exercise in exercises() if exercise.startswith(name[:2])}


@every_notebook
def test_links_between_notebooks_lead_somewhere_in_the_course(path: Path) -> None:
    """To a notebook of the course, or to a file that is there."""
    for cell in read(path).cells:
        for target in re.findall(r"\]\(([^)#:]+)\)", cell.source) if cell.cell_type == "markdown" else ():
            assert target in COURSE or (path.parent / target).exists(), f"{path.name}: no {target}"


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


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.parent.name == "zh"], ids=lambda path: path.stem)
def test_bold_chinese_ends_before_its_punctuation(path: Path) -> None:
    """Markdown closes bold after a full-width sign only before a space or another sign; else the stars are shown."""
    for cell in nbformat.read(path, as_version=4).cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            parts = line.split("**")
            for bold, after in zip(parts[1::2], parts[2::2], strict=False):
                stuck = bold and bold[-1] in "。！？，：；）”、" and after[:1].isalnum()
                assert not stuck, f"{cell.id}: **{bold}**{after[:4]}"
