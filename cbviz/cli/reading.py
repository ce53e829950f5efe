"""`cbviz results`: how to read a result, from the page of the documentation that comes with the package."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from cbviz.errors import CbvizError
from cbviz.messages import FIRST
from cbviz.paths import printable

_HEADING = re.compile(r"^#{1,2} ", re.MULTILINE)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_ROW = re.compile(r"^\| (?!situation)(.*<br>.*) \|$", re.MULTILINE)
_BELOW = "`tests/test_verdict.py`"
"""The section that names it is the one below which the situations are listed."""


def print_reading(options: argparse.Namespace) -> int:
    """Print how to read a result; returns the exit code. Raises CbvizError if the page is missing."""
    print(*map(printable, reading(options.language).splitlines()), sep="\n", flush=True)
    return 0


def reading(language: str) -> str:
    """docs/results.md in one language: its sections, and the situations of its table as a list.

    Parameters
    ----------
    language
        "en" or "zh".

    Returns
    -------
    str
        Markdown, section by section.

    Raises
    ------
    CbvizError
        This installation has no such page.
    """
    text = _page()
    starts = [found.start() for found in _HEADING.finditer(text)]
    sections = [text[at:end].strip() for at, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    chosen = []
    for section in sections:
        if _is_in(section, language):
            prose = "\n".join(line for line in section.splitlines() if not line.startswith("|")).strip()
            chosen.append(f"{prose}\n\n{situations(text, language)}" if _BELOW in section else prose)
    return "\n\n".join(chosen)


def situations(text: str, language: str) -> str:
    """The rows of the table in one language: each situation, and under it what a result says."""
    found = []
    for row in _ROW.findall(text):
        english, said, chinese, said_in_chinese = row.split(" | ")
        name, words = (english, said) if language == FIRST else (chinese, said_in_chinese)
        found.append("\n".join([f"- **{name}**", *(f"  {line}" for line in words.split("<br>"))]))
    return "\n".join(found)


def _is_in(section: str, language: str) -> bool:
    """Whether a section is in this language: its heading tells."""
    return (_CHINESE.search(section.partition("\n")[0]) is None) == (language == FIRST)


def _page() -> str:
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "docs", package.parent / "docs"):
        if (page := folder / "results.md").is_file():
            return page.read_text("utf-8")
    raise CbvizError("this installation of cbviz came without its docs; install it from a wheel or a checkout.")
