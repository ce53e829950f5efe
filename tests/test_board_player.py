"""Without a kernel: the page, what a notebook keeps, and what needs no notebook packages."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from cbviz.errors import CbvizError
from cbviz.measure.compare import same_answers
from cbviz.view import Board, Outcome
from cbviz.view.pack import read
from cbviz.view.player import html, mimebundle, text
from tests.fake_runs import scheduled_trace, wild_trace

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)> \u202e' + "A" * 100_000


def hostile_trace():
    run = wild_trace(4)
    requests = replace(run.requests, prompt=tuple(HOSTILE for _ in run.requests.prompt))
    return replace(run, requests=requests, meta=replace(run.meta, policy=HOSTILE[:200], policy_summary=HOSTILE))


def pair():
    outputs = [3, 9, 2, 30, 4, 4, 12, 1]
    return scheduled_trace(outputs, 4, "static", 0.5), scheduled_trace(outputs, 4, "continuous", 0.5)


def test_the_page_is_one_small_file_that_may_not_reach_the_network():
    page = html(pair(), title="A <race> & more")
    data = re.search(r'id="run">([^<]*)</script>', page).group(1)
    assert len(page) - len(data) < 400_000
    assert "<title>A &lt;race&gt; &amp; more</title>" in page
    assert "default-src 'none'" in page
    assert "connect-src 'none'" in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    blocks = read(gzip.decompress(base64.b64decode(data)))
    assert [header["kind"] for header, _ in blocks] == ["meta", "requests", "iterations", "requests", "iterations"]


def test_hostile_text_never_becomes_markup():
    trace = hostile_trace()
    for markup in (html([trace], title=HOSTILE[:100]), mimebundle([trace])["text/html"]):
        assert "owned" not in markup.replace("&quot;owned&quot;", "")
        assert "<img src=x" not in markup
        assert "onerror=alert(1)>" not in markup


def test_a_bundle_is_the_same_for_the_same_run_and_has_no_timings_in_its_text():
    static, continuous = pair()
    assert mimebundle([static, continuous]) == mimebundle(pair())
    bundle = mimebundle([static, continuous])
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/html"].startswith('<div id="cbviz-')
    assert 'src="data:image/svg+xml;base64,' in bundle["text/html"]
    assert bundle["text/plain"] == (
        "static: 42 iterations on 4 slots, occupancy 38.7%, 8/8 requests, in the order 2 0 1 3 7 4 5 6\n"
        "continuous: 30 iterations on 4 slots, occupancy 54.2%, 8/8 requests, in the order 2 0 4 5 7 1 6 3"
    )
    slower = scheduled_trace([3, 9, 2, 30, 4, 4, 12, 1], 4, "static", 0.7)
    assert text([slower]) == text([static])


@pytest.mark.parametrize(
    ("language", "words"), [("en", "A row is a slot, a column one iteration"), ("zh", "一行是一个槽位，一列是一次迭代")]
)
def test_how_to_read_a_still_picture_stands_above_it(language, words):
    for markup in (mimebundle(pair(), language=language)["text/html"], html(pair(), language=language)):
        still = re.search(r"<(div|main) id=[^>]*>(.*?)</\1>", markup, re.DOTALL).group(2)
        assert re.match(rf"<p>{words}[^<]*</p><img ", still)


def test_a_finish_is_measured_from_the_traces():
    measured = Outcome.of(*pair())
    assert (measured.speedup, measured.cost_ratio, measured.iteration_ratio) == (None, None, 42 / 30), "timed once"
    static, continuous = (replace(trace, meta=replace(trace.meta, clock="virtual")) for trace in pair())
    finish = Outcome.of(static, continuous)
    assert finish.iteration_ratio == pytest.approx(42 / 30)
    assert finish.cost_ratio == pytest.approx(1)
    assert finish.speedup == pytest.approx(finish.iteration_ratio * finish.cost_ratio)
    assert (finish.identical, finish.compared) == (8, 8)
    other = replace(continuous, requests=replace(continuous.requests, tokens=((1,), *continuous.requests.tokens[1:])))
    assert same_answers(static, other) == (7, 8)
    assert Outcome.of(static).speedup is None


def test_a_stopped_run_claims_no_speedup():
    stopped = wild_trace(3, requests=30, most=20)
    finish = Outcome.of(stopped, stopped)
    assert finish.stopped
    assert finish.speedup is None


@pytest.mark.parametrize(
    "values", [{"speedup": float("nan")}, {"cost_ratio": -1.0}, {"identical": 3, "compared": 2}, {"clock": "wall"}]
)
def test_a_finish_that_makes_no_sense_is_refused(values):
    with pytest.raises(CbvizError):
        Outcome(**values)


def test_a_board_writes_pages_and_pictures(tmp_path):
    board = Board(*pair(), title="Two")
    assert board.to_html(tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert board.to_svg(tmp_path / "a.svg", dark=True).read_text(encoding="utf-8").startswith("<svg")
    assert repr(board) == board._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize(
    ("traces", "options", "sentence"),
    [((), {}, "1 to 4 runs"), ((1,), {}, "shows traces"), ((wild_trace(1),), {"language": "de"}, "language must be")],
)
def test_nonsense_is_refused(traces, options, sentence):
    with pytest.raises(CbvizError, match=sentence):
        Board(*traces, **options)


def test_pictures_pages_and_terminal_need_no_notebook_packages():
    program = """
import sys
for name in ("anywidget", "ipywidgets", "IPython", "plotly", "pandas", "traitlets"):
    sys.modules[name] = None
import cbviz.view.terminal, cbviz.view.picture, cbviz.view.player
from cbviz.view import Board, Outcome, RequestText, Control, Knob
try:
    from cbviz.view import LiveBoard
except ImportError:
    print("ok")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ok"
