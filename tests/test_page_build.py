"""The page as a file: small enough, the same every time, nothing from elsewhere, and only the script that it allows."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cbviz.errors import CbvizError
from cbviz.messages import languages, lines
from tools import build_page, page_scripts
from tools.build_page import INSTALL, LARGEST, LARGEST_ZIPPED, main, page

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "web").rglob("*.js"))


@pytest.fixture(scope="module")
def text() -> str:
    return page(course="course/?a=1&b=2")


def test_it_is_small_enough_and_the_same_every_time(text: str) -> None:
    assert len(text.encode()) <= LARGEST
    assert len(gzip.compress(text.encode(), compresslevel=6)) <= LARGEST_ZIPPED
    assert page(course="course/?a=1&b=2") == text


def test_one_script_is_allowed_by_its_hash_and_one_style(text: str) -> None:
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    [script] = re.findall(r'<script type="module" async>(.*?)</script>', text, re.DOTALL)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = {part: base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (script, style)}
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digest[script]}' 'wasm-unsafe-eval'",
        f"style-src 'sha256-{digest[style]}'",
        "worker-src blob:",
        "img-src data: blob:",
        "connect-src 'none'",
        "form-action 'none'",
        "base-uri 'none'",
    ]
    assert len(re.findall(r"<script(?! type=\"text/plain\")", text)) == 1
    assert "style=" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_it_loads_nothing_from_elsewhere(text: str) -> None:
    markup = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert not re.findall(r"\b(?:src|srcset|data|poster)=", markup)
    assert set(re.findall(r'href="([^"#][^"]*)"', markup)) == {"course/?a=1&amp;b=2"}
    for script in (page_scripts.page(), page_scripts.worker()):
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", script))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_links_to_the_repository_are_there_once_it_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'data-say="colab"' not in page()
    monkeypatch.setattr(build_page.badges, "repository", lambda: "https://github.com/example/cbviz")
    found = dict(re.findall(r'<a class="button" [^>]*data-to="([^"]*)" data-say="(\w+)">', page(docs="watch.html")))
    places = {name: json.loads(html.unescape(to)) for to, name in found.items()}
    assert list(places) == ["docs", "github", "colab", "binder"]
    assert places["docs"] == {"en": "watch.html", "zh": "watch.html"}
    for name in ("colab", "binder"):
        for language, place in places[name].items():
            assert "/example/cbviz/" in place
            assert (ROOT / "notebooks" / language / place.rpartition("/")[2]).is_file()


def test_without_scripts_it_can_be_read(text: str) -> None:
    markup = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert lines("en")["page.hero_title"] in markup
    assert not re.findall(r'data-say="\w+"[^>]*></', markup)


def test_scripts_are_without_imports_and_have_every_line_of_the_page() -> None:
    for script in (page_scripts.page(), page_scripts.worker()):
        assert not re.findall(r"^(?:import|export)\b", script, re.MULTILINE)
    assert {key for key in lines("en") if key.startswith("page.")} <= page_scripts.catalogue()["en"].keys()
    assert list(page_scripts.catalogue()) == list(languages())


def test_two_modules_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder, rest in (
        ("a", 'import { y } from "../b/x.js";\nexport const x = y;\n'),
        ("b", "export const y = 1;\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.js").write_text(rest, encoding="utf-8")
    entry = tmp_path / "entry.js"
    entry.write_text('import { x } from "./a/x.js";\nexport const begin = () => x;\n', encoding="utf-8")
    with pytest.raises(CbvizError, match=r"two modules of the page are called x\.js"):
        page_scripts.joined(entry)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_is_short_says_what_it_is_and_ships(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("/* ")
    assert len(text.splitlines()) <= 400
    entries = [page_scripts.WEB / folder / "entry.js" for folder in ("page", "worker")]
    assert any(path in page_scripts.closure(entry, page_scripts.BOARD) for entry in entries)


def test_the_command_writes_it_and_says_how_large_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "site" / "index.html"
    monkeypatch.setattr(sys, "argv", ["build_page", "--out", str(target), "--without-python"])
    main()
    assert target.read_text("utf-8") == page()
    assert re.search(r"index\.html: \d\.\d\d MB, \d\.\d\d MB as gzip", capsys.readouterr().out)
    assert not (target.parent / build_page.page_python.NAME).exists()
    monkeypatch.setattr(sys, "argv", ["build_page", "--out", str(target)])
    monkeypatch.setattr(build_page.page_python, "script", lambda: "globalThis.cbvizPython = {};")
    main()
    assert target.read_text("utf-8") == page(python="globalThis.cbvizPython = {};")
    assert (target.parent / "python.js").read_text("utf-8") == "globalThis.cbvizPython = {};"
    assert "python.js: 0.00 MB" in capsys.readouterr().out


def test_the_install_line_works_with_the_built_wheel(tmp_path: Path) -> None:
    """What the page tells a reader to type, with the wheel of this checkout in place of the package index.

    The dependencies are those of this environment, so that nothing is downloaded; the race is a small one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    venv, install, race = (shlex.split(line) for line in INSTALL.splitlines())
    assert venv[0] == "python3"
    index = ["--no-index", "--no-deps", "--find-links", str(tmp_path / "dist")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def typed(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    typed(sys.executable, *venv[1:])
    typed(*install, *index)
    [installed] = (tmp_path / ".venv").glob("lib/python3*/site-packages")
    (installed / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    said = typed(*race, "--requests", "2", "--slots", "2", "--repeats", "1", "--device", "cpu")
    assert "continuous" in said
    place = typed(".venv/bin/python", "-c", "import cbviz; print(cbviz.__file__)")
    assert Path(place.strip()).is_relative_to(installed)
