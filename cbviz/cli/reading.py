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


def print_reading(options: argparse.Namespace) -> int:
    """Print how to read a result; returns the exit code. Raises CbvizError if the page is missing."""
    print(*map(printable, reading(options.language).splitlines()), sep="\n", flush=True)
    return 0


def reading(language: str) -> str:
    """The prose of docs/results.md in a language, without its table of situations.

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
    prose = [section for section in sections if "\n|" not in section]
    return "\n\n".join(section for section in prose if _is_in(section, language))


def _is_in(section: str, language: str) -> bool:
    """Whether a section is in this language: its heading tells."""
    return (_CHINESE.search(section.partition("\n")[0]) is None) == (language == FIRST)


def _page() -> str:
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "docs", package.parent / "docs"):
        if (page := folder / "results.md").is_file():
            return page.read_text("utf-8")
    raise CbvizError("this installation of cbviz came without its docs; install it from a wheel or a checkout.")
