"""The tool that keeps a notebook and its Chinese twin in step."""

from __future__ import annotations

from pathlib import Path

import nbformat
import normalise_notebooks
import notebook_pairs
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output

TEXT = """%%% md title
# Tokens
%%% zh
# 一次一个 token,慢慢来
%%% code start
from cbviz import course

course.language("en")
%%% code race folded nbval-ignore-output slow
1 + 1
%%% md end
The end.
%%% zh
完。
"""


def pair(text: str, *old: NotebookNode | None, still_right: tuple[str, ...] = ()) -> tuple[NotebookNode, NotebookNode]:
    before = old or (None, None)
    cells = notebook_pairs.parse(text)
    en, zh = (notebook_pairs.build(cells, lang, before[i], still_right) for i, lang in enumerate(("en", "zh")))
    return en, zh


def test_a_text_becomes_two_notebooks_and_the_same_text_again() -> None:
    en, zh = pair(TEXT)
    assert [cell.id for cell in en.cells] == [cell.id for cell in zh.cells] == ["title", "start", "race", "end"]
    assert zh.cells[0].source == "# 一次一个 token\uff0c慢慢来"
    assert 'course.language("zh")' in zh.cells[1].source
    assert en.cells[2].metadata == {"tags": ["nbval-ignore-output", "slow"], "jupyter": {"source_hidden": True}}
    assert "jupyter" not in en.cells[1].metadata
    assert notebook_pairs.stale(en, zh) == []
    assert notebook_pairs.parse(notebook_pairs.unparse(notebook_pairs.cells_of(en, zh))) == notebook_pairs.parse(TEXT)


def test_changed_english_makes_the_chinese_stale_until_it_is_paired_again() -> None:
    old = pair(TEXT)
    changed = TEXT.replace("The end.", "The very end.")
    en, zh = pair(changed, *old)
    assert notebook_pairs.stale(en, zh) == ["end"]
    assert notebook_pairs.stale(*pair(changed, en, zh)) == ["end"], "packing it again is no excuse"
    assert notebook_pairs.stale(*pair(changed, en, zh, still_right=("end",))) == []
    assert notebook_pairs.stale(*pair(changed.replace("完。", "真的完了。"), en, zh)) == []


def test_outputs_of_unchanged_code_are_kept() -> None:
    old = pair(TEXT)
    for notebook in old:
        notebook.cells[2].outputs = [new_output("stream", text="2\n")]
    en, zh = pair(TEXT.replace("The end.", "Done."), *old)
    assert en.cells[2].outputs[0].text == zh.cells[2].outputs[0].text == "2\n"
    en, zh = pair(TEXT.replace("1 + 1", "1 + 2"), *old)
    assert en.cells[2].outputs == zh.cells[2].outputs == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "must begin"),
        ("%%% md", "no head"),
        ("%%% zh title", "no head"),
        ("%%% raw x\n1", "no head"),
        ("%%% code a\n1\n%%% zh\n一", "must follow"),
        ("%%% code a\n1\n%%% code a\n2", "two cells"),
        ("%%% md a\nhello", "lacks"),
        ("%%% md a\nhello\n%%% zh\n一\n%%% zh\n二", "must follow"),
    ],
)
def test_nonsense_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        notebook_pairs.parse(text)


def test_twins_with_different_cells_are_refused() -> None:
    en, zh = pair(TEXT)
    del zh.cells[3]
    with pytest.raises(ValueError, match="different cells"):
        notebook_pairs.cells_of(en, zh)


def test_pack_and_unpack_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook_pairs, "NOTEBOOKS", tmp_path / "notebooks")
    text = tmp_path / "pair.md"
    text.write_text(TEXT, "utf-8")
    assert notebook_pairs.main(["pack", "99", str(text)]) == 2
    assert "needs its whole name" in capsys.readouterr().err
    assert notebook_pairs.main(["pack", "99_tokens", str(text)]) == 0
    en, zh = notebook_pairs.paths("99")
    for path in (en, zh):
        nbformat.validate(nbformat.read(path, as_version=4))
        assert normalise_notebooks.main([str(path), "--check"]) == 0, "what is packed is normal"
    text.write_text(TEXT.replace("The end.", "Over."), "utf-8")
    assert notebook_pairs.main(["pack", "99", str(text)]) == 0
    assert "the English of end has changed" in capsys.readouterr().err
    assert notebook_pairs.main(["unpack", "99", str(tmp_path / "again.md")]) == 0
    assert "Over." in (tmp_path / "again.md").read_text("utf-8")
    zh.unlink()
    assert notebook_pairs.main(["unpack", "99", str(text)]) == 2
