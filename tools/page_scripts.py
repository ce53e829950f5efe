"""The page's JavaScript as it ships: the modules of `web/` joined into two scripts, the page's own and its worker's.

The modules keep to the plain form of the board's, so `js_source` joins them; here it is given the files that a script
needs, from several folders, as one. The page's script contains the board as it is shipped, in a scope of its own: what
the page imports from the board's modules is taken from there, and no name can collide.
"""

from __future__ import annotations

import json
import re
import tempfile
from functools import cache
from pathlib import Path

from cbviz.errors import CbvizError
from cbviz.messages import languages, lines
from cbviz.view import js_source

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
BOARD = ROOT / "cbviz" / "view" / "js"
"""The board's modules."""
PAGE_KEYS = (*js_source.BOARD_KEYS, "page.")
"""What the keys of the page's lines begin with."""

_IMPORT = re.compile(r'^import \{ (\w+(?:, \w+)*) \} from "(\.{1,2}/[\w./]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default )", re.MULTILINE)
_DEFAULT = re.compile(r"^export default \{.*?\};$\n?", re.MULTILINE | re.DOTALL)


def closure(entry: Path, stop: Path | None = None) -> dict[Path, str]:
    """The entry and all modules that it imports, path → text; those in the folder `stop` are not followed."""
    found: dict[Path, str] = {}

    def visit(path: Path) -> None:
        if path in found or path.parent == stop:
            return
        found[path] = path.read_text("utf-8")
        for taken in _IMPORT.finditer(found[path]):
            visit((path.parent / taken[2]).resolve())

    visit(entry.resolve())
    return found


def joined(entry: Path, stop: Path | None = None) -> str:
    """One script without imports. What is imported from the folder `stop` must be in scope where it runs.

    Raises CbvizError for modules that cannot be joined, or two of one name.
    """
    modules = closure(entry, stop)
    names = [path.name for path in modules]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CbvizError(f"two modules of the page are called {', '.join(sorted(twice))}.")

    def flat(taken: re.Match[str], path: Path) -> str:
        target = (path.parent / taken[2]).resolve()
        return "" if target.parent == stop else f'import {{ {taken[1]} }} from "./{target.name}";'

    with tempfile.TemporaryDirectory() as folder:
        for path, text in modules.items():
            flattened = _IMPORT.sub(lambda taken, path=path: flat(taken, path), text)  # type: ignore[misc]
            (Path(folder) / path.name).write_text(flattened, encoding="utf-8")
        return _EXPORT.sub("", js_source.join(Path(folder)))


def taken_from(entry: Path, stop: Path) -> list[str]:
    """The names that the modules of a script import from a folder."""
    names: set[str] = set()
    for path, text in closure(entry, stop).items():
        for taken in _IMPORT.finditer(text):
            if (path.parent / taken[2]).resolve().parent == stop:
                names |= set(taken[1].split(", "))
    return sorted(names)


@cache
def worker() -> str:
    """The worker's script, a classic one."""
    return joined(WEB / "worker" / "entry.js") + "begin();\n"


@cache
def page() -> str:
    """The page's script: the board in a scope of its own, then the page."""
    board, hole = js_source.join(BOARD), "const WORDS = {};"
    if board.count(hole) != 1:
        raise CbvizError(f"the board's modules have no place for the catalogue, {hole!r}.")
    words = json.dumps(catalogue(), ensure_ascii=False, separators=(",", ":"))
    board = _EXPORT.sub("", _DEFAULT.sub("", board.replace(hole, f"const WORDS = {words};")))
    entry = WEB / "page" / "entry.js"
    names = ", ".join(taken_from(entry, BOARD))
    return f"const {{ {names} }} = (() => {{\n{board}\nreturn {{ {names} }};\n}})();\n{joined(entry, BOARD)}begin();\n"


def catalogue() -> dict[str, dict[str, str]]:
    """Language → key → line, of all lines that the page or its board may show."""
    return {
        language: {key: line for key, line in lines(language).items() if key.startswith(PAGE_KEYS)}
        for language in languages()
    }
