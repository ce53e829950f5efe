"""How KV memory was used: shares by hand, four schemes in equal memory, and the chart of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from kv_schemes import PAPER, KVSchemes, article_workload, kv_schemes, paper_workload

from cbviz.errors import MeasureError, WorkloadError
from cbviz.measure import kv_shares
from cbviz.models import load
from cbviz.policies import Continuous, Orca, VllmV1
from cbviz.run.schedule import schedule
from cbviz.view.bars import Bars
from cbviz.view.svg import image
from cbviz.view.zoom import bars_figure
from cbviz.workload import Request, Workload
from cbviz.workload.lengths import ExponentialTruncated
from cbviz.workload.synthetic import synthetic


def test_shares_by_hand() -> None:
    """20 positions in blocks of 4. Request 1: prompt 3, 3 of at most 5 tokens; it gets 8 positions and writes 3, 4, 5
    (the last token's keys are never written); 3 of its 8 are never used. Request 2 asks for 16 and waits behind it.
    """
    work = Workload(
        "",
        (Request(1, (1, 2, 3), 5, output_length=3), Request(2, (1,), 15, output_length=2)),
        arrival_unit="iterations",
    )
    trace = schedule(Continuous(), work, slots=2, block_size=4, kv_blocks=5)
    assert trace.iterations.waiting.tolist() == [1, 1, 1, 0, 0]
    found = kv_shares(trace)
    assert found.iterations == 3
    assert found.used == pytest.approx((3 + 4 + 5) / 3 / 20)
    assert found.reserved == pytest.approx((2 + 1 + 0) / 3 / 20)
    assert found.internal == pytest.approx(3 / 20)
    assert found.free == pytest.approx(12 / 20)
    everything = kv_shares(trace, contended=False)
    assert everything.iterations == 5
    assert everything.used == pytest.approx((3 + 4 + 5 + 1 + 2) / 5 / 20)


def test_paging_wastes_less_than_a_block_a_request() -> None:
    work = synthetic(30, ExponentialTruncated(20, 60), prompt_tokens=10, vocabulary=99)
    trace = schedule(VllmV1(), work, slots=8, block_size=4, kv_blocks=60)
    it = trace.iterations
    busy = trace.meta.slots - it.idle_slots
    assert ((it.kv_reserved + it.kv_internal) < 4 * np.maximum(busy, 1)).all()


@pytest.fixture(scope="module")
def small() -> KVSchemes:
    return kv_schemes(article_workload(24, seed=2), kv_tokens=8000, slots=16)


def test_the_order_is_the_paper_s(small: KVSchemes) -> None:
    used = [share.used for share in small.shares.values()]
    assert used == sorted(used)
    assert list(small.shares) == list(PAPER)
    assert small.shares["vLLM, paged"].used > 0.9
    assert small.shares["Orca, oracle"].internal < 0.02, "who knows the length reserves a block's rest too much at most"
    for share in small.shares.values():
        assert share.used + share.reserved + share.internal + share.free == pytest.approx(1)
    running = list(small.requests_running.values())
    assert running == sorted(running)
    assert small.requests_running["Orca, maximum"] <= 3, "8,000 tokens hold three contexts of 2,048"
    iterations = list(small.iterations.values())
    assert iterations == sorted(iterations, reverse=True)
    assert all(len(trace.requests) == 24 for trace in small.traces.values())


def test_how_the_schemes_are_shown(small: KVSchemes) -> None:
    text = str(small)
    assert "20.4%" in text
    assert "96.3%" in text
    assert small.to_json()["vLLM, paged"]["used"] == small.shares["vLLM, paged"].used
    chart = small.chart()
    assert chart.marks == PAPER
    assert chart.svg().count("<rect") >= 4 * 4


def test_a_model_gives_the_same_shares() -> None:
    tiny = load("tiny", device="cpu", progress=False)
    law = ExponentialTruncated(6, 20)
    work = synthetic(10, law, prompt_tokens=12, vocabulary=tiny.vocabulary)
    options = {"kv_tokens": 120, "block_size": 4, "context": 40, "slots": 4}
    real, alone = kv_schemes(work, model=tiny, **options), kv_schemes(work, **options)
    assert real.shares == alone.shares
    assert real.iterations == alone.iterations
    assert real.traces["vLLM, paged"].meta.model == "tiny"


def test_workloads_have_the_lengths_they_are_said_to_have() -> None:
    article, paper = article_workload(600), paper_workload(600)
    assert {len(r.prompt) for r in article} == {512}
    assert max(r.output_length or 0 for r in article) <= 1536
    assert np.mean([r.output_length or 0 for r in article]) == pytest.approx(128, rel=0.12)
    assert np.mean([len(r.prompt) for r in paper]) == pytest.approx(161, rel=0.12)
    assert np.mean([r.output_length or 0 for r in paper]) == pytest.approx(275, rel=0.12), (
        "338, less what 1,024 cuts off"
    )


def test_bars_draw_what_they_are_given(tmp_path: Path) -> None:
    bars = Bars(
        "<b>", "share", ("used", "free"), {"<one>": (0.25, 0.75), "two": (0.5, 0.0)}, {"two": 0.4}, "said & done"
    )
    root = ET.fromstring(bars.svg())
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="26" fill="(?!none)', bars.svg())]
    whole = float(re.findall(r'width="([\d.]+)" height="26" fill="none"', bars.svg())[0])
    assert widths == pytest.approx([0.25 * whole, 0.75 * whole, 0.5 * whole], abs=0.1)
    assert "<one>" not in bars.svg()
    assert bars.to_svg(tmp_path / "bars.svg").read_text("utf-8") == bars.svg()
    assert bars._repr_mimebundle_()["text/html"] == image(bars.svg(), repr(bars)[1:-1])
    figure = bars_figure(bars)
    assert [trace.x for trace in figure.data] == [(0.25, 0.5), (0.75, 0.0), (0.4,)]
    assert figure.layout.barmode == "stack"


def test_nonsense_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="no iteration in which a request waited"):
        kv_shares(schedule(Orca(), Workload("", (Request(1, (1,), 2, output_length=2),)), slots=1))
    for value in (0, -1, 2.5, True):
        with pytest.raises(WorkloadError, match="kv_tokens must be"):
            kv_schemes(kv_tokens=value)  # type: ignore[arg-type]
    with pytest.raises(WorkloadError, match="request 1 has no output_length"):
        kv_schemes(Workload("", (Request(1, (1,), 2),)))
    for rows in ({}, {"a": (0.5,)}, {"a": (0.7, 0.7)}, {"a": (float("nan"), 0.0)}, {"a": (-0.5, 0.5)}):
        with pytest.raises(MeasureError):
            Bars("", "", ("x", "y"), rows)
    with pytest.raises(MeasureError, match="every mark must carry the name of a bar"):
        Bars("", "", ("x",), {"a": (0.5,)}, {"b": 0.5})
    with pytest.raises(MeasureError, match="cannot be written"):
        Bars("", "", ("x",), {"a": (0.5,)}).to_svg(tmp_path / "none" / "x.svg")
