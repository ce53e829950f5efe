"""Edit a notebook and its Chinese twin in one text file.

    python tools/notebook_pairs.py unpack 01 pair.md     # both languages of notebook 01, cell by cell, as text
    python tools/notebook_pairs.py pack 01 pair.md       # back into notebooks/en and notebooks/zh
    python tools/notebook_pairs.py pack 01 pair.md --still-right question numbers   # these translations still hold

The text is a sequence of cells. A text cell has both languages, one after the other; code appears once, because it is
the same in both:

    %%% md question
    # One token at a time
    %%% zh
    # 一次一个 token
    %%% code race nbval-ignore-output
    race = cbviz.race("tiny")

The word after the kind is the cell's id, the same in both notebooks; words after it are its tags, but for `folded`: the
code of such a cell is hidden until a reader opens it. The one cell that says `course.language("en")` says "zh" in the
Chinese notebook.

Each Chinese text cell records in its metadata which English it translates: `translates` holds the first 16 digits of
the SHA-256 of the English source. `pack` writes it for a cell that is new or whose Chinese has changed. If only the
English has changed, the old digits stay, and a test fails until the Chinese is updated, or `--still-right` says that it
needs no change. Outputs of unchanged code cells are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from chinese import fullwidth
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from normalise_notebooks import NOTEBOOKS, normalised

LANGUAGE_LINE = re.compile(r'^course\.language\("(en|zh)"\)$', re.MULTILINE)
HEAD = re.compile(r"^%%% (md|code|zh)(?: ([a-z0-9][a-z0-9-]*)((?: [a-z-]+)*))?$")


FOLDED = "folded"


@dataclass(slots=True)
class Cell:
    """One cell of the pair: `zh` is the Chinese of a text cell, and is empty for code."""

    kind: str
    id: str
    tags: list[str] = field(default_factory=list)
    en: str = ""
    zh: str = ""


def digits(english: str) -> str:
    """The digest of the English text that a translation records."""
    return hashlib.sha256(english.strip().encode("utf-8")).hexdigest()[:16]


def in_chinese(code: str) -> str:
    """A code cell as it appears in the Chinese notebook."""
    return LANGUAGE_LINE.sub('course.language("zh")', code)


def parse(text: str) -> list[Cell]:
    """The cells of a pair's text. Raises ValueError that names the wrong line."""
    cells: list[Cell] = []
    lines: list[str] = []
    chinese = False

    def close() -> None:
        body = "\n".join(lines).strip("\n")
        if cells:
            if chinese:
                cells[-1].zh = fullwidth(body)
            else:
                cells[-1].en = body
        elif body:
            raise ValueError("the text must begin with a line such as '%%% md title'.")
        lines.clear()

    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("%%% "):
            lines.append(line)
            continue
        head = HEAD.match(line)
        if head is None or (head[1] == "zh") == bool(head[2]):
            raise ValueError(f"line {number}: {line!r} is no head; write '%%% md id', '%%% zh' or '%%% code id tags'.")
        close()
        chinese = head[1] == "zh"
        if chinese:
            if not cells or cells[-1].kind != "md" or cells[-1].zh:
                raise ValueError(f"line {number}: '%%% zh' must follow the text cell that it translates.")
            continue
        if any(cell.id == head[2] for cell in cells):
            raise ValueError(f"line {number}: there are two cells with the id {head[2]!r}.")
        cells.append(Cell(head[1], head[2], (head[3] or "").split()))
    close()
    for cell in cells:
        if cell.kind == "md" and not (cell.en and cell.zh):
            raise ValueError(f"the text cell {cell.id!r} lacks one of its languages.")
    return cells


def unparse(cells: Sequence[Cell]) -> str:
    """The text of a pair."""
    parts = []
    for cell in cells:
        parts.append(" ".join(["%%%", cell.kind, cell.id, *cell.tags]))
        parts.append(cell.en)
        if cell.kind == "md":
            parts += ["%%% zh", cell.zh]
    return "\n".join(parts) + "\n"


def cells_of(en: NotebookNode, zh: NotebookNode) -> list[Cell]:
    """The pair as cells. Raises ValueError if the two notebooks do not match."""
    if [(c.id, c.cell_type) for c in en.cells] != [(c.id, c.cell_type) for c in zh.cells]:
        raise ValueError("the two notebooks have different cells.")
    return [
        Cell("code", e.id, _words(e), e.source) if e.cell_type == "code" else Cell("md", e.id, [], e.source, z.source)
        for e, z in zip(en.cells, zh.cells, strict=True)
    ]


def _words(cell: NotebookNode) -> list[str]:
    """The words after the id of a code cell."""
    hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
    return [*([FOLDED] if hidden else []), *cell.metadata.get("tags", [])]


def _metadata(words: Sequence[str]) -> dict[str, Any]:
    """The metadata that these words stand for."""
    tags = [word for word in words if word != FOLDED]
    return {**({"jupyter": {"source_hidden": True}} if FOLDED in words else {}), **({"tags": tags} if tags else {})}


def build(
    cells: Sequence[Cell], language: str, old: NotebookNode | None, still_right: Sequence[str] = ()
) -> NotebookNode:
    """One notebook of the pair; `old` provides the outputs of unchanged code, and the digests of translations."""
    before = {cell.id: cell for cell in old.cells} if old else {}
    made = []
    for cell in cells:
        was = before.get(cell.id)
        if cell.kind == "code":
            source = in_chinese(cell.en) if language == "zh" else cell.en
            new = new_code_cell(source, id=cell.id, metadata=_metadata(cell.tags))
            if was is not None and was.cell_type == "code" and was.source == source:
                new.outputs, new.execution_count = was.outputs, was.execution_count
        elif language == "en":
            new = new_markdown_cell(cell.en, id=cell.id)
        else:
            kept = was is not None and was.source == cell.zh and cell.id not in still_right
            translates = was.metadata.get("translates", "") if was is not None and kept else digits(cell.en)
            new = new_markdown_cell(cell.zh, id=cell.id, metadata={"translates": translates})
        made.append(new)
    return normalised(new_notebook(cells=made))


def stale(en: NotebookNode, zh: NotebookNode) -> list[str]:
    """Ids of the Chinese text cells whose English has changed since they were translated."""
    english = {cell.id: cell.source for cell in en.cells}
    return [
        cell.id
        for cell in zh.cells
        if cell.cell_type == "markdown" and cell.metadata.get("translates") != digits(english.get(cell.id, ""))
    ]


def paths(name: str) -> tuple[Path, Path]:
    """The English and the Chinese notebook with a number such as "01", or a new file's stem such as "01_one_token"."""
    found = sorted((NOTEBOOKS / "en").glob(f"{name}*.ipynb"))
    if len(found) > 1:
        raise ValueError(f"{name!r} names {len(found)} notebooks.")
    if not found and len(name) < 4:
        raise ValueError(f"there is no notebook {name!r}; a new one needs its whole name, such as 01_one_token.")
    file = found[0].name if found else f"{name}.ipynb"
    return NOTEBOOKS / "en" / file, NOTEBOOKS / "zh" / file


def read(path: Path) -> NotebookNode | None:
    return nbformat.read(path, as_version=4) if path.exists() else None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Edit a notebook and its Chinese twin in one text file.")
    parser.add_argument("what", choices=("unpack", "pack"))
    parser.add_argument("notebook", help="its number, such as 01; for a new one its name without .ipynb")
    parser.add_argument("text", type=Path, help="the text file of the pair")
    parser.add_argument("--still-right", nargs="*", default=[], metavar="ID", help="translations that hold as they are")
    options = parser.parse_args(argv)
    try:
        en, zh = paths(options.notebook)
        if options.what == "unpack":
            old_en, old_zh = read(en), read(zh)
            if old_en is None or old_zh is None:
                raise ValueError(f"{en.stem} lacks one of its languages.")
            options.text.write_text(unparse(cells_of(old_en, old_zh)), "utf-8")
            return 0
        cells = parse(options.text.read_text("utf-8"))
        for path, language in ((en, "en"), (zh, "zh")):
            notebook = build(cells, language, read(path), options.still_right)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(nbformat.writes(notebook) + "\n", "utf-8")
        old = stale(nbformat.read(en, as_version=4), nbformat.read(zh, as_version=4))
        if old:
            print(f"{en.stem}: the English of {', '.join(old)} has changed, the Chinese has not.", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
