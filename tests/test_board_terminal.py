"""The grid in a terminal reads with and without colour."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cbviz.errors import CbvizError
from cbviz.view.terminal import grid, grids
from tests.fake_runs import scheduled_trace, wild_trace


def drawn(trace, width=60, **options) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(grid(trace, width, **options))
    return console.file.getvalue().splitlines()


def test_the_toy_figure_cell_by_cell():
    static = drawn(scheduled_trace([3, 6, 2, 3], 4, "static"), color=False)
    assert static[0].startswith("static  6 iterations, occupancy 58%")
    assert static[1:5] == ["0 /█]xxx", "1 /██1█]", "2 /]xxxx", "3 /█]xxx"]


def test_each_state_has_a_sign_of_its_own():
    from cbviz.view.terminal import END, SIGNS

    assert len({*SIGNS.values(), END}) == 8


def test_a_long_run_fits_the_width_and_two_runs_share_a_scale():
    long = scheduled_trace([40] * 30, 4)
    short = scheduled_trace([20] * 30, 4)
    lines = drawn(long, 50)
    assert all(len(line) <= 50 for line in lines[:5])
    assert len(lines[1]) == 50
    assert len(drawn(short, 50, extent=len(long.iterations))[1].rstrip()) == pytest.approx(26, abs=1)


def test_an_empty_run_and_a_wild_one_are_drawn():
    assert drawn(scheduled_trace([1], 1))
    for seed in range(5):
        assert drawn(wild_trace(seed), 40)


def test_nonsense_is_refused():
    trace = wild_trace(1)
    with pytest.raises(CbvizError, match="width must be"):
        grid(trace, 3)
    with pytest.raises(CbvizError, match="extent must be"):
        grid(trace, 60, extent=1)


def test_a_legend_explains_the_characters_that_occur_and_no_others():
    static, continuous = (scheduled_trace([3, 6, 2, 3, 3, 2, 2], 4, name) for name in ("static", "continuous"))
    assert "xx held: finished, still computed   ] the last token of an answer" in drawn(static, 120, color=False)[-1]
    assert "held" not in drawn(continuous, 120, color=False)[-1]
    for seed in range(6):
        lines = drawn(wild_trace(seed), 200, color=False)
        rows = {sign for line in lines[1:-2] for sign in line[3:]}
        for sign, words in {"x": "held", "|": "recompute", "=": "stalled", "/": "prefill"}.items():
            assert (words in lines[-1]) == (sign in rows), (seed, sign)


def test_several_runs_share_a_scale_and_a_legend_in_either_language():
    static, continuous = (scheduled_trace([3, 6, 2, 3, 3, 2, 2], 4, name) for name in ("static", "continuous"))
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(grids([static, continuous], ["one", "two"], 100, False, language="zh"))
    text = console.file.getvalue()
    assert text.index("one  9 次迭代") < text.index("two  6 次迭代") < text.index("空算")
    assert text.count("回答的最后一个 token") == 1
