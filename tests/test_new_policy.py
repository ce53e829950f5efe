"""A new policy is its file, its row and its lines: the race, the board, `why` and the command line then have it.

The package is copied, three places get what a contributor would write, and a process of its own looks at the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node import node

ROOT = Path(__file__).resolve().parents[1]

FILE = '''
"""The newest request first, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, View
from cbviz.reason import Reason


@dataclass(frozen=True, slots=True)
class NewestFirst:
    """Serve the request that came last, for a test."""

    name: str = "newest_first"
    summary: str = Message("policy.newest_first.summary")

    def plan(self, view: View) -> Plan:
        if view.running or not view.waiting:
            return Plan(put_off=view.closed(Reason("not_alone", running=len(view.running))))
        newest = max(view.waiting, key=lambda request: (request.arrival, request.id))
        return Plan(admit=[Admit(newest.id, reason=Reason("newest", request=newest.id))])
'''
LINES = {
    "en": {
        "policy.newest_first.summary": "the newest request first",
        "reason.newest": "no request came after {request}",
        "reason.not_alone": "{running} running, and only one may",
    },
    "zh": {
        "policy.newest_first.summary": "最新的请求优先",
        "reason.newest": "{request} 之后没有新请求",
        "reason.not_alone": "已有 {running} 个在运行，而只允许一个",
    },
}
RACE = """
import json
from pathlib import Path
import cbviz
from cbviz.view.js_source import joined
from cbviz.view.language import speak
from cbviz.view.player import describe
from cbviz.view.pack import read, trace_blocks
from cbviz.trace.files import from_bytes, to_bytes

race = cbviz.race("tiny", ["static", "newest_first"], slots=2, requests=4, repeats=1, live=False, progress=None)
trace = race.traces[1]
again = from_bytes(to_bytes(trace))
asked = []
for language in ("en", "zh"):
    speak(language)
    asked += [str(cbviz.why(trace, 0, 1)), str(cbviz.why(again, 3, 0))]
(_, _), (header, _) = read(trace_blocks(0, again))
Path("board.mjs").write_text(joined(), encoding="utf-8")
lane = describe([again], None, "t", None)["lanes"][0]
print(json.dumps({"names": list(race.names), "why": asked, "summary": lane["summary"], "reasons": header["reasons"]}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copied")
    package = folder / "cbviz"
    shutil.copytree(ROOT / "cbviz", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "policies" / "newest_first.py").write_text(FILE.lstrip(), encoding="utf-8")
    rooms = package / "policies" / "__init__.py"
    text = rooms.read_text("utf-8")
    row, imported = '    "static": Static,\n', "from cbviz.policies.one_at_a_time import OneAtATime\n"
    assert text.count(row) == text.count(imported) == 1
    text = text.replace(row, f'{row}    "newest_first": NewestFirst,\n')
    text = text.replace(imported, f"from cbviz.policies.newest_first import NewestFirst\n{imported}")
    rooms.write_text(text, encoding="utf-8")
    for language, lines in LINES.items():
        path = package / "messages" / f"{language}.json"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **lines}), encoding="utf-8")
    return folder


def python(copied: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copied), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copied, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_race_board_and_why_have_it_in_both_languages(copied: Path) -> None:
    found = json.loads(python(copied, "-c", RACE))
    assert found["names"] == ["static", "newest_first"]
    waits, enters, waits_zh, enters_zh = found["why"]
    assert "request 0 (number 1 in the queue): waits — 1 running, and only one may." in waits
    assert "let in — slot 0; no request came after 3" in enters
    assert "请求 0（队列第 1 位）：等待——已有 1 个在运行，而只允许一个。" in waits_zh
    assert "接纳——槽位 0；3 之后没有新请求" in enters_zh
    assert found["summary"] == ["policy.newest_first.summary", {}]
    assert ["reason.newest", {"request": 3}] in found["reasons"]
    texts = [found["summary"], ["reason.newest", {"request": 3}]]
    script = f"""
        import * as b from {json.dumps((copied / "board.mjs").as_uri())};
        console.log(JSON.stringify(["en", "zh"].map((l) => {json.dumps(texts)}.map((text) => b.inWords(l, text)))));
    """
    done = subprocess.run([node(), "--input-type=module", "-e", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == [
        ["the newest request first", "no request came after 3"],
        ["最新的请求优先", "3 之后没有新请求"],
    ]


@pytest.mark.parametrize(("language", "title"), [("en", "Race"), ("zh", "竞赛")])
def test_the_command_line_has_it(copied: Path, language: str, title: str) -> None:
    arguments = ["--policies", "static,newest_first", "--slots", "2", "--requests", "3", "--repeats", "1"]
    files = ["--html", f"{language}.html", "--language", language]
    out = python(copied, "-m", "cbviz", "race", *arguments, *files, "--quiet")
    assert "newest_first" in out
    page = (copied / f"{language}.html").read_text("utf-8")
    assert f"<title>{title}</title>" in page
    assert LINES[language]["policy.newest_first.summary"] in page
