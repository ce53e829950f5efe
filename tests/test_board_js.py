"""The board's JavaScript modules and the one that ships: the same names, the same behaviour, and only plain forms."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cbviz.errors import CbvizError
from cbviz.view.js_source import FOLDER, catalogue, join, joined
from cbviz.view.player import style
from tests.node import node, shipped_module

ROOT = Path(__file__).parents[1]
MODULES = sorted(FOLDER.glob("*.js"))


def write(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


def test_the_modules_tests_hold_for_the_module_that_ships() -> None:
    tests = sorted(str(path) for path in (ROOT / "tests" / "js").glob("*.test.mjs"))
    environment = os.environ | {"BOARD_MODULE": shipped_module()}
    done = subprocess.run([node(), "--test", *tests], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "\n# skipped 0" in done.stdout


def test_the_module_that_ships_exports_what_widgets_and_pages_call() -> None:
    script = f"""
        import board, * as names from {json.dumps(shipped_module())};
        console.log(JSON.stringify([Object.keys(board), typeof names.mount, Object.keys(names)]));
    """
    done = subprocess.run([node(), "--input-type=module", "-e", script], capture_output=True, check=True)
    anywidget, mount, names = json.loads(done.stdout)
    assert anywidget == ["initialize", "render"]
    assert mount == "function"
    assert {"Board", "Feed", "Run", "Lane", "Axis", "decodeBlock", "PALETTE", "THEMES", "WORDS", "inWords"} <= set(
        names
    )


def test_it_is_one_module_without_imports_and_styles() -> None:
    text = joined()
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith("import")]
    assert json.dumps(catalogue(), ensure_ascii=False) in text
    assert sorted(line for line in lines if line.startswith("//")) == [f"// {path.name}" for path in MODULES]
    assert style() not in text
    assert "</script" not in text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("/* ")
    assert len(text.splitlines()) <= 400


def test_modules_follow_those_that_they_import_and_lose_their_comments(tmp_path: Path) -> None:
    write(
        tmp_path,
        entry='/* E */\n\nimport { b } from "./b.js";\nimport { a } from "./a.js";\n\nexport default { a, b };\n',
        a="// A\n/** One.\n * Two. */\nexport const a = (x) => `/* ${x} */`; // kept\n",
        b='import { a } from "./a.js";\n/** @type {number} */\nexport const b = /** @type {any} */ (a);\n',
    )
    assert join(tmp_path) == (
        "// a.js\nexport const a = (x) => `/* ${x} */`; // kept\n\n"
        "// b.js\nexport const b = /** @type {any} */ (a);\n\n"
        "// entry.js\nexport default { a, b };\n"
    )


A = "export const a = 1;\n"
USES_A = 'import { a } from "./a.js";\nexport default { a };\n'


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        ({"entry": USES_A, "a": "const a = 1;\n"}, r"entry\.js imports a, which a\.js does not export"),
        ({"entry": 'import { a } from "./lost.js";\nexport default { a };\n'}, "which lost.js does not export"),
        (
            {"entry": USES_A, "a": 'import { b } from "./b.js";\n' + A, "b": "export const b = 1;\nconst a = 2;\n"},
            "two modules declare a",
        ),
        (
            {
                "entry": USES_A,
                "a": 'import { b } from "./b.js";\n' + A,
                "b": 'import { a } from "./a.js";\nexport const b = 1;\n',
            },
            "import each other: a.js, b.js",
        ),
        ({"entry": USES_A, "a": A, "b": "export const b = 1;\n"}, r"no module imports b\.js"),
        ({"entry": USES_A, "a": A + 'import a2 from "./b.js";\n'}, "cannot be joined: 'import a2"),
        ({"entry": USES_A, "a": A + 'import { b as c } from "./b.js";\n'}, "cannot be joined: 'import { b as c"),
        ({"entry": USES_A, "a": A + "export { a };\n"}, "cannot be joined: 'export { a }"),
        ({"entry": USES_A, "a": A + "export default a;\n"}, "cannot be joined: 'export default a"),
        ({"entry": USES_A, "a": A + "const { b } = a;\n"}, "cannot be joined: 'const { b }"),
        ({"entry": USES_A, "a": A + "a.b();\n"}, r"cannot be joined: 'a\.b"),
        (
            {"entry": USES_A, "a": A + "const b = `\n// no comment\n`;\n"},
            r"a\.js has a string that spans several",
        ),
        (
            {"entry": USES_A, "a": A + 'const b = "\\\n// no comment";\n'},
            r"a\.js has a string that spans several",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused_by_name(tmp_path: Path, modules: dict[str, str], sentence: str) -> None:
    with pytest.raises(CbvizError, match=sentence):
        join(write(tmp_path, **modules))
