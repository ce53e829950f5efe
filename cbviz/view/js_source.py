"""The board's JavaScript: small modules in `js/`, joined into the single module that ships.

A widget and a stand-alone page each carry one module, so the files are concatenated, each after those it imports,
without their imports and without comments on lines of their own. Nothing is rewritten: this works because the modules
keep to a plain form, which is checked.

- Imports are `import { a, b } from "./x.js";`, and x.js exports these names.
- All other statements at the left margin declare one name, `export` before it or not; `entry.js` alone has a default
  export.
- No name is declared in two modules, and no two modules import each other.
- A string ends on the line where it begins.

`catalogue.js` gets the lines that a board shows, in all languages: one module then serves the widget and the page, and
the switch between languages needs no kernel and no network.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cbviz.errors import CbvizError
from cbviz.messages import languages, lines

FOLDER = Path(__file__).parent / "js"
ENTRY = "entry.js"

LOADER = """
const boards = (globalThis.__cbviz_boards ??= new Map());
function board(model) {
  const key = model.get("_key");
  if (!boards.has(key)) {
    const address = URL.createObjectURL(new Blob([model.get("_code")], { type: "text/javascript" }));
    boards.set(key, import(address).finally(() => URL.revokeObjectURL(address)));
  }
  return boards.get(key);
}
export default {
  initialize: async (props) => (await board(props.model)).default.initialize(props),
  render: async (props) => (await board(props.model)).default.render(props),
};
"""
"""A browser keeps every module that it ever imported, and anywidget imports one per widget. This one is small, and all
widgets of a page share the board's module, so that rerunning a cell costs the page no memory."""
BOARD_KEYS = ("language.", "board.", "reason.", "why.", "policy.", "workload.", "verdict.", "answers.empty")
"""What the keys of a board's lines begin with."""

_IMPORT = re.compile(r'import \{ (\w+(?:, \w+)*) \} from "\./(\w+\.js)";')
_DECLARATION = re.compile(r"(export )?(?:(?:async )?function|class|const|let) (\w+)\b")
_REST_OF_ONE = re.compile(r"[ \t})\]]|$")
_COMMENT = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/[ \t]*|//[^\n]*)\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its imports (file name → names), declarations and exports, and its text without imports."""

    imports: dict[str, tuple[str, ...]]
    declared: tuple[str, ...]
    exported: frozenset[str]
    text: str


def read(path: Path) -> Module:
    """Read and check one module. Raises `CbvizError` that names the file and the line that breaks the plain form."""
    imports: dict[str, tuple[str, ...]] = {}
    declared: list[str] = []
    exported: set[str] = set()
    kept: list[str] = []
    for line in _COMMENT.sub("", path.read_text("utf-8")).splitlines():
        if line.count("`") % 2 or line.endswith("\\"):
            raise CbvizError(f"{path.name} has a string that spans several lines, at {line!r}.")
        if taken := _IMPORT.fullmatch(line):
            imports[taken[2]] = tuple(taken[1].split(", "))
            continue
        if found := _DECLARATION.match(line):
            declared.append(found[2])
            if found[1]:
                exported.add(found[2])
        elif not _REST_OF_ONE.match(line) and not (path.name == ENTRY and line.startswith("export default {")):
            raise CbvizError(f"{path.name} has a line that cannot be joined: {line!r}.")
        kept.append(line)
    return Module(imports, tuple(declared), frozenset(exported), "\n".join(kept).strip("\n"))


def in_order(modules: dict[str, Module], entry: str = ENTRY) -> list[str]:
    """Names of the modules that the entry needs, each after those it imports. Raises `CbvizError` for a cycle."""
    done: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise CbvizError(f"these modules import each other: {', '.join(above[above.index(name) :])}.")
        if name in done:
            return
        for other in modules[name].imports:
            visit(other, (*above, name))
        done.append(name)

    visit(entry, ())
    return done


def join(folder: Path) -> str:
    """Join the modules of a folder into one. Raises `CbvizError` if they cannot be joined."""
    modules = {path.name: read(path) for path in sorted(folder.glob("*.js"))}
    for name, module in modules.items():
        for other, wanted in module.imports.items():
            missing = set(wanted) - (modules[other].exported if other in modules else set())
            if missing:
                raise CbvizError(f"{name} imports {', '.join(sorted(missing))}, which {other} does not export.")
    order = in_order(modules)
    if unused := modules.keys() - order:
        raise CbvizError(f"no module imports {', '.join(sorted(unused))}.")
    names = Counter(name for module in modules.values() for name in module.declared)
    if twice := [name for name, count in names.items() if count > 1]:
        raise CbvizError(f"two modules declare {', '.join(twice)}.")
    return "\n".join(f"// {name}\n{modules[name].text}\n" for name in order)


@cache
def joined() -> str:
    """The board as one ES module: exports `mount` for pages; the default export is anywidget's hooks."""
    text, hole = join(FOLDER), "const WORDS = {};"
    if text.count(hole) != 1:
        raise CbvizError(f"the joined modules have no place for the catalogue, {hole!r}.")
    return text.replace(hole, f"const WORDS = {json.dumps(catalogue(), ensure_ascii=False)};")


def catalogue() -> dict[str, dict[str, str]]:
    """Language → key → line, of all lines that a board may show."""
    return {
        language: {key: line for key, line in lines(language).items() if key.startswith(BOARD_KEYS)}
        for language in languages()
    }
