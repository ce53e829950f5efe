"""Python in the page: the bridge carries views and plans, and the script beside the page is whole."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cbviz
from cbviz.errors import CbvizError, PolicyError
from cbviz.policies import View
from cbviz.policies.check import ask, check
from tests.page_schedules import Wild
from tests.test_page_referee import VIEW
from tools import build_page

page_python = build_page.page_python
ROOT = Path(__file__).resolve().parents[1]
MINE = """
class Mine(Policy):
    name = "mine"
    summary = "for tests"

    def plan(self, view):
        {body}
"""


@pytest.fixture(scope="module")
def bridge() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bridge", ROOT / "web" / "python" / "bridge.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


QUEUES = ("waiting", "running", "finished")


def written(view: View, columns: Sequence[str]) -> str:
    """A view as `web/worker/python_policy.js` writes it."""
    fields = {name: getattr(view, name) for name in view.__dataclass_fields__ if name != "freed_together"}
    return json.dumps(
        {
            name: [[getattr(request, column) for column in columns] for request in value] if name in QUEUES else value
            for name, value in fields.items()
        }
    )


@pytest.fixture
def said(bridge: ModuleType) -> Callable[[str], Any]:
    """What the page gets for the fixed view from a scheduler whose `plan` has this body."""

    def answer(body: str) -> Any:
        made = json.loads(bridge.make(MINE.format(body=body)))
        number = made.pop("number")
        assert made == {"name": "mine", "summary": "for tests"}
        return json.loads(bridge.plan(number, written(VIEW, bridge.FIELDS)))

    return answer


def test_a_plan_arrives_whole(said: Callable[[str], Any]) -> None:
    body = (
        "return Plan(admit=[Admit(5, reserve=24, reason=Reason('no_budget')), 6], hold='all',"
        " pause={1: 'later'}, chunk={2: 3}, put_off={8: 'no room'})"
    )
    assert said(body) == {
        "admit": [
            {"request": 5, "reserve": 24, "reason": ["reason.no_budget", {}]},
            {"request": 6, "reserve": None, "reason": ""},
        ],
        "hold": [3],
        "preempt": [],
        "pause": [[1, "later"]],
        "chunk": [[2, 3]],
        "wait_until": None,
    }


def test_the_page_writes_the_fields_that_the_bridge_reads(bridge: ModuleType) -> None:
    script = (ROOT / "web" / "worker" / "python_policy.js").read_text("utf-8")
    (taken, written_as) = re.findall(r"const rowOf = \(\{ ([^}]*) \}\) => \[([^\]]*)\];", script)[0]
    assert taken == written_as == ", ".join(bridge.FIELDS)


def test_a_view_arrives_whole_and_is_the_value_that_the_engine_shows(bridge: ModuleType) -> None:
    """A scheduler that compares what it sees with what Python's engine would show."""
    seen: list[View] = []

    class Looking:
        name, summary = "looking", "keeps its view"

        def plan(self, view: View) -> cbviz.Plan:
            seen.append(view)
            assert isinstance(view.waiting[:2], list)
            with pytest.raises(AttributeError, match="read-only"):
                view.waiting.extra = 1  # type: ignore[attr-defined]
            return cbviz.Plan()

    bridge._policies[:] = [Looking()]
    bridge.plan(0, written(VIEW, bridge.FIELDS))
    assert seen == [VIEW]
    assert [type(value) for value in (seen[0].now, seen[0].clock, seen[0].waiting[0].arrival)] == [float] * 3
    assert seen[0].waiting[-1] == VIEW.waiting[-1]


@pytest.mark.parametrize(
    "body",
    [
        "return Plan(admit=[5, 5])",
        "return Plan(admit=[view.waiting[0], view.waiting[1], view.waiting[2], view.waiting[3]])",
        "return Plan(chunk={2: 6})",
        "return Plan(pause={2: 'a'}, preempt={2: 'b'})",
        "return {'admit': [5]}",
        "return Plan(admit=5)",
        "return Plan(wait_until='soon')",
        "return None",
        "raise ValueError('no idea')",
        "return Plan(admit=[undefined])",
        "raise SystemExit(3)",
        "view.waiting.append(7)",
    ],
)
def test_the_referee_says_what_it_says_elsewhere(bridge: ModuleType, said: Callable[[str], Any], body: str) -> None:
    names = {"Plan": cbviz.Plan, "Policy": cbviz.Policy}
    exec(MINE.format(body=body), names)
    with pytest.raises(PolicyError) as refused:
        ask(names["Mine"](), replace(VIEW, waiting=bridge.Views(VIEW.waiting)))  # type: ignore[abstract, operator]
    assert said(body) == {"refused": str(refused.value)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the scheduler has no class with a method plan; write class Mine(Policy)"),
        ("import math\nclass NotIt:\n    pass", "the scheduler has no class with a method plan"),
        ("from cbviz import Static", "the scheduler has no class with a method plan"),
        ("class Mine(Policy):\n  def plan(self, view):\n    return Plan(", "the scheduler is no valid Python: '(' was"),
        ("x = 1\nraise KeyError('a')", "the scheduler raised KeyError before its first plan: 'a' (line 2)"),
        ("import numpy_is_not_here", "the scheduler raised ModuleNotFoundError before its first plan: No module named"),
        ("class Mine:\n    def plan(self, view): ...", "is no policy; a policy has a name, a summary and a method"),
        ("class Mine(Policy):\n    def plan(self, view): ...", "the name of Mine is None; it must be text"),
        ("class Mine(Policy):\n    def __init__(self, n): ...", "raised TypeError before its first plan"),
        (MINE.format(body="yield 1"), "plan of Mine is a generator"),
        (MINE.format(body="...") + "    def __init__(self): self.g = (i for i in [])", "self.g is of type generator"),
    ],
)
def test_a_text_that_is_no_scheduler_gets_a_sentence(bridge: ModuleType, text: str, sentence: str) -> None:
    assert sentence in json.loads(bridge.make(text))["refused"]


def test_the_last_class_of_the_text_is_the_scheduler(bridge: ModuleType) -> None:
    text = f"{MINE.format(body='return Plan()')}\n{inspect.getsource(Wild)}"
    made = json.loads(bridge.make(text))
    assert made["name"] == "wild"
    answer = json.loads(bridge.plan(made["number"], written(VIEW, bridge.FIELDS)))
    assert answer["chunk"] == [list(pair) for pair in check(Wild().plan(VIEW), VIEW).chunk.items()]
    assert answer["admit"]


# ------------------------------------------------------------------ the script beside the page


@pytest.fixture(scope="module")
def script() -> str:
    try:
        return page_python.script()
    except page_python.UnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test Python in the page: {error}")
        pytest.skip(str(error))


def test_the_script_holds_every_part_and_is_the_same_every_time(script: str) -> None:
    head, _, rest = script.partition("globalThis.cbvizPython = ")
    assert "MPL-2.0" in head
    parts = {name: gzip.decompress(base64.b64decode(packed)) for name, packed in json.loads(rest[:-2]).items()}
    assert parts["wasm"][:4] == b"\0asm"
    assert parts["library"][:2] == b"PK"
    assert b"export" not in parts["runtime"].splitlines()[-3]
    sources = json.loads(parts["sources"])
    assert sources["cbviz/policies/check.py"] == (ROOT / "cbviz" / "policies" / "check.py").read_text("utf-8")
    assert not any("numpy" in line for text in sources.values() for line in text.splitlines() if "import" in line[:7])
    page_python.script.cache_clear()
    assert page_python.script() == script


def test_the_page_allows_the_script_by_its_hash_alone() -> None:
    text = build_page.page(python="globalThis.x = 1;\n")
    hashed = build_page.hashed("globalThis.x = 1;\n")
    assert f'<body data-python="{hashed[1:-1]}">' in text
    assert f" {hashed} 'wasm-unsafe-eval'; style-src" in text
    assert '<body data-python="">' in build_page.page()


def test_a_package_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page_python, "CACHE", tmp_path)
    (tmp_path / f"pyodide-{page_python.VERSION}.tgz").write_bytes(b"something else")
    with pytest.raises(CbvizError, match="is not the package that is pinned"):
        page_python.archive()


def test_without_npm_or_a_network_the_page_is_built_without_python_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page_python.script.cache_clear()
    monkeypatch.setattr(page_python, "CACHE", tmp_path)
    with monkeypatch.context() as here:
        here.setattr(shutil, "which", lambda name: None)
        assert build_page.python_script() is None
    assert "built without Python: npm, which fetches Pyodide, is not installed." in capsys.readouterr().err
    monkeypatch.setattr(shutil, "which", lambda name: name)
    refused = subprocess.CompletedProcess([], 1, "", "npm error network request failed\n")
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: refused)
    assert build_page.python_script() is None
    assert "npm could not fetch Pyodide: npm error network request failed." in capsys.readouterr().err
