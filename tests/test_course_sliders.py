"""The pictures under the sliders: what they say is what the formulas and the engine say."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbviz
from cbviz import course
from cbviz.course.lanes import SlotLane, lanes
from cbviz.course.sliders.arrivals import GAPS, SLOTS
from cbviz.course.timed import Timed
from cbviz.errors import CbvizError
from cbviz.measure import continuous_iterations, speedup_exponential, static_iterations
from cbviz.measure.roofline_bound import Rates
from cbviz.models import load
from cbviz.workload import ExponentialClipped, Request, Workload


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


def said(knobs: Any, **chosen: Any) -> str:
    """What the sliders show when they are moved there."""
    for slider, (name, offered) in zip(_sliders(knobs), knobs.values.items(), strict=True):
        if name in chosen:
            assert chosen[name] in offered
            slider.index = offered.index(chosen[name])
    assert knobs.chosen.items() >= chosen.items()
    assert knobs._page.value == knobs._still().html
    return knobs._still().text


def _sliders(knobs: Any) -> list[Any]:
    children = knobs._made().children[:-1]
    return [*children[0].children] if knobs.upright else [*children]


def pictures(html: str) -> list[str]:
    return [base64.b64decode(data).decode() for data in re.findall(r"base64,([^\"]+)", html)]


@pytest.fixture(scope="module")
def roof() -> Any:
    model = load("tiny", device="cpu")
    weights, parameters = model.weight_bytes, model.parameters
    rates = Rates(1e9, 1e9 * 16 * 2 * parameters / weights)  # the knee lies at 16 rows
    return course.roofline(Timed({1: 50.0, 8: 60.0}, rates, "a card", False, ""), model)


def test_memory_decides_below_the_knee_and_arithmetic_above(roof: Any) -> None:
    for rows in (1, 2, 4, 8):
        assert "Memory decides" in said(roof, rows=rows)
    for rows in (16, 32, 512):
        assert "Arithmetic decides" in said(roof, rows=rows)
    (picture,) = pictures(roof._still().html)
    assert ">knee, 16 rows<" in picture
    assert ">a card<" in picture


def test_what_was_measured_is_said_where_it_was(roof: Any) -> None:
    assert "Measured: 133." in said(roof, rows=8)
    assert "Measured" not in said(roof, rows=4)


def test_every_slider_has_a_name(roof: Any) -> None:
    for knobs in (roof, course.capacity(), course.spread(), course.drag([1, 2]), course.arrivals()):
        assert all(slider.name and len(slider.words) > 1 for slider in _sliders(knobs))


def test_a_card_holds_what_notebook_03_counts() -> None:
    card = course.capacity()
    assert "17,089 tokens: 8 sequences of 2,048" in repr(card)
    assert "33 sequences of 512" in said(card, length=512, bits=16)
    assert "27 GB are left" in said(card, bits=8)
    assert "do not fit on a card of 24 GB" in said(card, card_gb=24, bits=16)
    assert "61,035 tokens: 14 sequences of 4,096" in said(card, model="llama-3.1-8b", length=4096)
    (picture,) = pictures(card._still().html)
    assert picture.count("<rect") == 14 + 2, "the sequences, the weights, and the card around them"


def test_a_spread_of_one_is_the_exponential_law_and_none_costs_nothing() -> None:
    sliders = course.spread()
    for slots in (2, 8, 64):
        text = said(sliders, spread=1, slots=slots)
        found = re.search(r"is ([\d.]+) times", text)
        assert found
        assert float(found[1]) == pytest.approx(speedup_exponential(slots), rel=0.02)
    assert "1.00 times" in said(sliders, spread=0)
    assert "0% of the slot-iterations" in said(sliders, slots=1)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=8))
def test_a_dragged_batch_runs_as_long_as_its_longest(lengths: list[int]) -> None:
    text = repr(course.drag(lengths))
    assert f"static: {max(lengths)} iteration" in text
    assert f"S = {max(lengths)} / " in text
    assert f"{1 - sum(lengths) / (max(lengths) * len(lengths)):.0%} of the slot-iterations" in text


@pytest.mark.parametrize("lengths", [[], [3], [0, 2], [1, 41], [1] * 9, "ab", 4])
def test_other_lengths_cannot_be_dragged(lengths: Any) -> None:
    with pytest.raises(CbvizError):
        course.drag(lengths)


@pytest.mark.parametrize("slots", SLOTS)
def test_without_gaps_the_counts_are_those_of_theory(slots: int) -> None:
    lengths = ExponentialClipped(mean=20, cap=100).draw(random.Random(3), 24)
    text = said(course.arrivals(), slots=slots, gap=0)
    assert f"static: {static_iterations(lengths, slots)} iterations" in text
    assert f"continuous: {continuous_iterations(lengths, slots)} iterations" in text


def test_there_is_nothing_to_gain_on_one_slot() -> None:
    sliders = course.arrivals()
    assert all("nothing to gain" in said(sliders, slots=1, gap=gap) for gap in GAPS)


def test_less_memory_means_more_computed_again() -> None:
    made = tuple(Request(i, (5,) * 20, 320, output_length=20 + 9 * i) for i in range(16))
    work = Workload("sixteen", made)
    sliders = course.pool(work)
    tight, roomy = said(sliders, kv_positions=384), said(sliders, kv_positions=1024)
    again = [int(re.search(r"(\d+) tokens? computed", text)[1]) for text in (tight, roomy)]  # type: ignore[index]
    assert again[0] > again[1]
    assert "24 blocks of 16" in tight
    trace = cbviz.schedule("vllm_v1", work, slots=8, block_size=64, kv_blocks=6)
    assert f"{len(trace.iterations)} iterations" in said(sliders, kv_positions=384, block_size=64)


@pytest.mark.parametrize("call", [lambda: course.roofline(3, None), lambda: course.pool([1])])
def test_other_arguments_are_refused(call: Any) -> None:
    with pytest.raises(CbvizError, match="takes"):
        call()


def test_lanes_say_and_draw_each_state_once() -> None:
    made = tuple(Request(i, (7,), n, output_length=n) for i, n in enumerate((3, 1, 2)))
    static = SlotLane.of(cbviz.schedule("static", Workload("w", made), slots=2))
    drawn = lanes(static, room=9)
    assert drawn.text == "static: 5 iterations, 60% useful"
    (picture,) = pictures(drawn.html)
    assert picture.count("url(#held)") == 1
    assert re.search(r'<img alt="static: 5 iterations, 60% useful" width="\d+" height="\d+"', drawn.html)
    assert np.isclose(static.useful, 0.6)


def test_every_slider_speaks_chinese() -> None:
    course.language("zh")
    for knobs in (course.capacity(), course.spread(), course.drag([3, 6]), course.arrivals()):
        assert re.search(r"[\u4e00-\u9fff]", repr(knobs))
        assert not re.search(r"[a-z]{4,} [a-z]{4,}", repr(knobs)), repr(knobs)
        if not knobs.upright:
            assert all(re.search(r"[\u4e00-\u9fff]", slider.name) for slider in _sliders(knobs))
