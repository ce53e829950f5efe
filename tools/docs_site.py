"""The generated pages of the site, made from notebooks, results and recordings when it is built.

mkdocs calls the functions whose names begin with `on_` (mkdocs.yml, `hooks`). The course's pages are the notebooks with
their committed outputs; the figures of the benchmarks page come from benchmarks/results; the player pages are recorded
runs. So the site cannot disagree with the repository.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_page
import docs_benchmarks
import page_python

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
LANGUAGES = ("en", "zh")
LINK = re.compile(r"\[([^\]\n]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+)\$", re.DOTALL)

ALONE = "---\nhide:\n  - navigation\n---\n\n"
"""Front matter of a page that is alone in its section of the site."""

_pieces: dict[str, str] = {}
"""HTML that must bypass Markdown, by its placeholder."""


def notebooks(language: str) -> list[Path]:
    """The course's notebooks in one language, in order."""
    return sorted((NOTEBOOKS / language).glob("*.ipynb"))


def title(notebook: NotebookNode) -> str:
    """The notebook's first heading."""
    return str(notebook.cells[0].source.splitlines()[0].removeprefix("# "))


def question(notebook: NotebookNode) -> str:
    """The bold line below the title."""
    return next(str(line).strip("*") for line in notebook.cells[0].source.splitlines() if line.startswith("**"))


def kept(html: str) -> str:
    """A placeholder that `on_page_content` replaces by this HTML."""
    mark = f"cbviz-piece-{len(_pieces)}"
    _pieces[mark] = html
    return mark


# ---------------------------------------------------------------------- notebooks as pages


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and placeholders for its outputs."""
    notebook = nbformat.read(path, as_version=4)
    parts = [text_cell(c.source, path) if c.cell_type == "markdown" else code_cell(c) for c in notebook.cells]
    return "\n\n".join(parts)


def text_cell(source: str, path: Path) -> str:
    """A text cell, with links to pages of the site and formulas as MathML, which browsers render natively."""

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if target.endswith(".ipynb"):
            there = (path.parent / target).is_file()
            return f"[{words}]({target.removesuffix('.ipynb')}.md{anchor})" if there else words
        return f"[{words}](../../watch.md)" if target.endswith("README.md") else words

    def formula(found: re.Match[str]) -> str:
        block, inline = found[1], found[2]
        return kept(convert(block or inline, display="block" if block else "inline"))

    return LINK.sub(link, MATH.sub(formula, source))


def code_cell(cell: NotebookNode) -> str:
    """A code cell, followed by the placeholder of its outputs."""
    shown = "".join(map(output, cell.outputs))
    code = f"```python\n{cell.source}\n```"
    mark = kept('<div class="cell-output">' + shown + "</div>")
    return f"{code}\n\n{mark}" if shown else code


def output(shown: NotebookNode) -> str:
    """One output as HTML: its own HTML or picture, else its text."""
    if shown.output_type == "stream":
        return f"<pre>{escape(shown.text)}</pre>"
    if shown.output_type == "error":
        return f"<pre>{escape(f'{shown.ename}: {shown.evalue}')}</pre>"
    data: Mapping[str, Any] = shown.data
    if "text/html" in data:
        return str(data["text/html"])
    if "image/png" in data:
        return f'<img alt="{escape(data.get("text/plain", ""))}" src="data:image/png;base64,{data["image/png"]}">'
    return f"<pre>{escape(str(data.get('text/plain', '')))}</pre>"


def course_page() -> str:
    """The table of contents of the course, both languages."""
    lines = [
        "# The course",
        "",
        "Each notebook answers one question by running a real model, in ten to fifteen minutes.",
    ]
    lines += ["These pages are the notebooks with their committed outputs, boards included.", ""]
    for language, head in (("en", ("", "question")), ("zh", ("", "问题"))):
        lines += [f"## {'English' if language == 'en' else '中文'}", "", f"| {head[0]} | {head[1]} |", "|---|---|"]
        for path in notebooks(language):
            notebook = nbformat.read(path, as_version=4)
            name = f"{path.stem[:2]} {title(notebook)}"
            lines.append(f"| [{name}]({language}/{path.stem}.md) | {question(notebook)} |")
        lines.append("")
    return "\n".join(lines)


def teaching_page() -> str:
    """TEACHING.md, with its links pointing to pages of the site."""

    def link(found: re.Match[str]) -> str:
        target = found[2]
        if target.endswith(".ipynb"):
            return f"[{found[1]}]({target.replace('notebooks/', 'course/').removesuffix('.ipynb')}.md)"
        if target.startswith("docs/"):
            return f"[{found[1]}]({target.removeprefix('docs/')}{found[3] or ''})"
        return found[1]

    return LINK.sub(link, (ROOT / "TEACHING.md").read_text("utf-8"))


def players() -> dict[str, str]:
    """Stand-alone pages of the recorded runs, by path."""
    from cbviz.trace import RECORDINGS, recorded
    from cbviz.view import player

    return {f"players/{name}.html": player.html(recorded(name), title=name, autoplay=False) for name in RECORDINGS}


# ---------------------------------------------------------------------- hooks of mkdocs


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the notebooks to the navigation."""

    def filled(entry: Any) -> Any:
        if isinstance(entry, list):
            return [filled(item) for item in entry]
        if isinstance(entry, dict):
            return {name: filled(value) for name, value in entry.items()}
        if entry in {f"course/{language}" for language in LANGUAGES}:
            language = entry.removeprefix("course/")
            return [
                {f"{p.stem[:2]} {title(nbformat.read(p, as_version=4))}": f"{entry}/{p.stem}.md"}
                for p in notebooks(language)
            ]
        return entry

    config.nav = filled(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of docs/."""
    _pieces.clear()
    python = build_page.python_script()
    made = {
        "course/index.md": course_page(),
        "teaching.md": teaching_page(),
        "benchmarks.md": ALONE + docs_benchmarks.page(),
        **{f"course/{language}/{p.stem}.md": notebook_page(p) for language in LANGUAGES for p in notebooks(language)},
        **{f"results/{path.name}": path.read_text("utf-8") for path in docs_benchmarks.results()},
        **players(),
        "index.html": build_page.page(course="course/index.html", docs="watch.html", python=python),
    }
    if python is not None:
        made[page_python.NAME] = python
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert a recorded run where a page of docs/ has `<!-- player NAME -->`."""
    from cbviz.trace import recorded
    from cbviz.view import Board

    def board(found: re.Match[str]) -> str:
        return kept(Board(*recorded(found[1]), title=found[1])._repr_mimebundle_()["text/html"])

    return re.sub(r"<!-- player ([\w-]+) -->", board, markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace placeholders by their HTML."""

    def piece(found: re.Match[str]) -> str:
        return _pieces[found[1] or found[2]]

    html = re.sub(r"<p>(cbviz-piece-\d+)</p>|(cbviz-piece-\d+)", piece, html)
    chinese = page.file.src_uri.startswith("course/zh/") or page.file.src_uri.endswith("_zh.md")
    return f'<div lang="zh">{html}</div>' if chinese else html
