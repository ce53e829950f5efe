"""Give every notebook its links to Colab and Binder, and the cell that installs cbviz if it is missing.

    python tools/badges.py             # add them, or update them
    python tools/badges.py --check     # change nothing; fail if a notebook would change
    python tools/badges.py --remove

The repository's address has one place, pyproject.toml: `Repository` under `[project.urls]`, on GitHub. Without it a
link would lead nowhere: then no notebook may have links, and `--check` says so.

The links are text, not badges, because a notebook would load a badge from the network every time it is opened. Outputs
are kept, and running the tool twice changes nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from normalise_notebooks import NOTEBOOKS, normalised
from notebook_pairs import digits

PYPROJECT = NOTEBOOKS.parent / "pyproject.toml"
BRANCH = "main"
LINKS, INSTALL = "open-it", "install"
"""Ids of the two cells, which follow the title."""

WORDS = {
    "en": "[Open in Colab]({colab}) · [Open on Binder]({binder})",
    "zh": "[在 Colab 中打开]({colab}) · [在 Binder 上打开]({binder})",
}
GUARD = """import importlib.util

if importlib.util.find_spec("cbviz") is None:  # on Colab; where cbviz is installed, nothing happens
    get_ipython().run_line_magic("pip", "install --quiet 'cbviz[notebook,gguf] @ git+{repository}'")"""


def repository() -> str | None:
    """The repository's address; None if pyproject.toml has none. Raises ValueError if it is not on GitHub."""
    urls = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"].get("urls", {})
    if "Repository" not in urls:
        return None
    address = str(urls["Repository"]).removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(f"Repository in pyproject.toml must be https://github.com/OWNER/NAME, not {address!r}.")
    return address


def links(address: str, language: str, name: str) -> dict[str, str]:
    """Where Colab and Binder open a notebook."""
    place = address.removeprefix("https://github.com/")
    return {
        "colab": f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/notebooks/{language}/{name}",
        "binder": f"https://mybinder.org/v2/gh/{place}/{BRANCH}?urlpath=lab/tree/notebooks/{language}/{name}",
    }


def cells(address: str, language: str, name: str) -> list[NotebookNode]:
    """The two cells of a notebook."""
    text = new_markdown_cell(WORDS[language].format(**links(address, language, name)), id=LINKS)
    if language != "en":
        english = cells(address, "en", name)[0].source
        text.metadata["translates"] = digits(english)
    return [text, new_code_cell(GUARD.format(repository=address), id=INSTALL)]


def dressed(notebook: NotebookNode, address: str | None, language: str, name: str) -> NotebookNode:
    """A normalised copy with the two cells after the title, or without them if there is no address."""
    copy = nbformat.from_dict(notebook)
    others = [cell for cell in notebook.cells if cell.id not in (LINKS, INSTALL)]
    copy.cells = others[:1] + (cells(address, language, name) if address else []) + others[1:]
    return normalised(copy)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if `--check` finds a difference, 2 if the address is missing or invalid."""
    parser = argparse.ArgumentParser(description="Links to Colab and Binder, and the cell that installs cbviz there.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    what.add_argument("--remove", action="store_true", help="take them out")
    options = parser.parse_args(argv)
    try:
        address = None if options.remove else repository()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if address is None and not (options.remove or options.check):
        print("pyproject.toml names no Repository under [project.urls]; links need one.", file=sys.stderr)
        return 2
    different = 0
    for language in WORDS:
        for path in sorted((NOTEBOOKS / language).glob("*.ipynb")):
            before = path.read_text("utf-8")
            notebook = nbformat.reads(before, as_version=4)
            after = nbformat.writes(dressed(notebook, address, language, path.name)) + "\n"
            if after == before:
                continue
            different = 1
            if options.check:
                print(f"{language}/{path.name}: run python tools/badges.py", file=sys.stderr)
            else:
                path.write_text(after, "utf-8")
                print(f"{language}/{path.name}: rewritten")
    return different if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
