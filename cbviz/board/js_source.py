"""The board's JavaScript: small modules in `js/`, joined into the one that ships.

A widget and a stand-alone page each carry one module, so the files are put one after the other, each after those that
it imports, without their imports and without the comments that stand on lines of their own. Nothing is rewritten: this
works because the modules keep to a plain form, which is checked.

- Imports are `import { a, b } from "./x.js";`, and x.js exports these names.
- All other statements at the left margin declare one name, `export` before it or not; `entry.js` alone has a default
  export.
- No name is declared twice in all of them, and no two modules need each other.
- A string ends on the line on which it begins.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cbviz.errors import CbvizError

FOLDER = Path(__file__).parent / "js"
ENTRY = "entry.js"

_IMPORT = re.compile(r'import \{ (\w+(?:, \w+)*) \} from "\./(\w+\.js)";')
_DECLARATION = re.compile(r"(export )?(?:(?:async )?function|class|const|let) (\w+)\b")
_REST_OF_ONE = re.compile(r"[ \t})\]]|$")
_COMMENT = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/[ \t]*|//[^\n]*)\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Module:
    """One file: what it imports (name of a file to names), declares and exports, and its text without imports."""

    imports: dict[str, tuple[str, ...]]
    declared: tuple[str, ...]
    exported: frozenset[str]
    text: str


def read(path: Path) -> Module:
    """One module, checked. Raises `CbvizError` with the file and the line that departs from the plain form."""
    imports: dict[str, tuple[str, ...]] = {}
    declared: list[str] = []
    exported: set[str] = set()
    kept: list[str] = []
    for line in _COMMENT.sub("", path.read_text("utf-8")).splitlines():
        if line.count("`") % 2 or line.endswith("\\"):
            raise CbvizError(f"{path.name} has a string of several lines, at {line!r}.")
        if taken := _IMPORT.fullmatch(line):
            imports[taken[2]] = tuple(taken[1].split(", "))
            continue
        if found := _DECLARATION.match(line):
            declared.append(found[2])
            if found[1]:
                exported.add(found[2])
        elif not _REST_OF_ONE.match(line) and not (path.name == ENTRY and line.startswith("export default {")):
            raise CbvizError(f"{path.name} has a line that the modules cannot be joined with: {line!r}.")
        kept.append(line)
    return Module(imports, tuple(declared), frozenset(exported), "\n".join(kept).strip("\n"))


def in_order(modules: dict[str, Module], entry: str = ENTRY) -> list[str]:
    """Names of the modules that the entry needs, each after those that it imports. Raises `CbvizError` at a circle."""
    done: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise CbvizError(f"these modules need each other: {', '.join(above[above.index(name) :])}.")
        if name in done:
            return
        for other in modules[name].imports:
            visit(other, (*above, name))
        done.append(name)

    visit(entry, ())
    return done


def join(folder: Path) -> str:
    """The modules of a folder as one. Raises `CbvizError` where they cannot be joined."""
    modules = {path.name: read(path) for path in sorted(folder.glob("*.js"))}
    for name, module in modules.items():
        for other, wanted in module.imports.items():
            missing = set(wanted) - (modules[other].exported if other in modules else set())
            if missing:
                raise CbvizError(f"{name} imports {', '.join(sorted(missing))}, which {other} does not export.")
    order = in_order(modules)
    if unused := modules.keys() - order:
        raise CbvizError(f"nothing needs {', '.join(sorted(unused))}.")
    names = Counter(name for module in modules.values() for name in module.declared)
    if twice := [name for name, count in names.items() if count > 1]:
        raise CbvizError(f"two modules declare {', '.join(twice)}.")
    return "\n".join(f"// {name}\n{modules[name].text}\n" for name in order)


@cache
def joined() -> str:
    """The board as one ES module: exports `mount` for pages, and anywidget's `initialize` and `render` by default."""
    return join(FOLDER)
