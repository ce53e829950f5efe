"""vLLM's first scheduler: prefill first, grow block by block, throw out the newest when blocks run out."""

from __future__ import annotations

import pytest

from cbviz.errors import PolicyError
from cbviz.policies import VllmV0
from tests.pictures import picture, reasons, requests, run, tokens


def test_prefills_go_before_every_decode() -> None:
    """3 comes at 2 and is prefilled at once, alone: 1 and 2 stall for that iteration."""
    steps = run(VllmV0(), 3, requests([5, 4, 3], prompts=[2, 2, 2], arrivals=[0, 0, 2]))
    assert picture(steps) == ["11s111", "22s22.", "..333."]
    assert reasons(steps)[3:] == [(2, "stalled", 1, "prefill goes first"), (2, "stalled", 2, "prefill goes first")]


def test_a_stream_of_arrivals_stalls_decodes_again_and_again() -> None:
    """TGI would let 1 decode in between; here each newcomer stops it."""
    steps = run(VllmV0(), 4, requests([3, 1, 1, 1], arrivals=[0, 1, 2, 3]))
    assert picture(steps)[0] == "1sss11"


def test_blocks_are_taken_as_requests_grow() -> None:
    """Blocks of 4: a prompt of 3 takes one, and the second only for position 4 (the fifth)."""
    steps = run(VllmV0(), 1, requests([6], prompts=[3]), size=4)
    assert [(it.blocks_used, it.blocks_reserved) for it in steps] == [(1, 0), (1, 0), (2, 0), (2, 0), (2, 0), (2, 0)]


def test_the_newest_is_preempted_and_recomputed_at_once() -> None:
    """9 positions. Both prompts of 3 and one decode each fill 8; then 1 takes the last and 2 finds none, and goes.

    It has 5 tokens (3 + 2 given), and they fit again only when 1 has ended: one prefill of 5 recomputes 4 positions
    and takes in the fifth for the first time, which gives its third token.
    """
    steps = run(VllmV0(), 2, requests([5, 5], prompts=[3, 3]), blocks=9)
    assert picture(steps) == ["11111r22", "22......"]
    assert tokens(steps) == [[3, 1, 1, 1, 1, 5, 1, 1], [3, 1, 0, 0, 0, 0, 0, 0]]
    assert reasons(steps)[2:3] == [(2, "preempted", 2, "no block is free")]


def test_an_older_request_takes_the_newest_ones_blocks() -> None:
    """10 positions, prompts of 2, 2 and 2. At 2 the pool is short of 2: 1 takes the last free one, 2 takes 3's."""
    steps = run(VllmV0(), 3, requests([4, 4, 4], prompts=[2, 2, 2]), blocks=10)
    assert picture(steps) == ["1111r3", "2222..", "33...."]
    assert [mark for mark in reasons(steps) if mark[1] == "preempted"] == [
        (2, "preempted", 3, "request 2 needs its blocks")
    ]


def test_the_preempted_comes_before_all_that_wait() -> None:
    steps = run(VllmV0(), 2, requests([5, 5, 1], prompts=[3, 3, 1]), blocks=9)
    assert [mark[:3] for mark in reasons(steps) if mark[1] != "stalled"] == [
        (0, "admitted", 1),
        (0, "admitted", 2),
        (2, "preempted", 2),
        (5, "admitted", 2),
        (5, "admitted", 3),
    ]


def test_the_watermark_keeps_some_blocks_free() -> None:
    """Ten blocks, two prompts of 3: taking both leaves 4, so 2 comes in where 3 must stay free and not where 5 must."""
    work = requests([3, 3], prompts=[3, 3])
    assert picture(run(VllmV0(watermark=0), 2, work, blocks=10)) == ["111", "222"]
    assert picture(run(VllmV0(watermark=0.3), 2, work, blocks=10)) == ["111", "222"]
    assert picture(run(VllmV0(watermark=0.5), 2, work, blocks=10)) == ["111222", "......"]


def test_a_request_as_large_as_the_pool_is_served() -> None:
    steps = run(VllmV0(watermark=0.9), 2, requests([4, 4], prompts=[6, 6]), blocks=10)
    assert picture(steps) == ["11112222", "........"]


def test_one_prefill_takes_no_more_than_its_budget() -> None:
    """Prompts of 4 with a budget of 10: two, then one; each request could still be prefilled whole later."""
    steps = run(VllmV0(max_num_batched_tokens=10), 3, requests([3, 3, 3], prompts=[4, 4, 4]))
    assert picture(steps) == ["1s11", "2s22", ".333"]
    assert tokens(steps)[2] == [0, 4, 1, 1]


def test_parameters_that_make_no_sense() -> None:
    for watermark in (-0.01, 1, 1.5, float("nan"), "1%", None):
        with pytest.raises(PolicyError, match="watermark must be a number from 0 to below 1"):
            VllmV0(watermark=watermark)  # type: ignore[arg-type]
    for budget in (0, -1, 2.0, True):
        with pytest.raises(PolicyError, match="max_num_batched_tokens must be None or a whole number of at least 1"):
            VllmV0(max_num_batched_tokens=budget)  # type: ignore[arg-type]


def test_a_prompt_that_no_prefill_ever_takes() -> None:
    with pytest.raises(PolicyError, match=r"request 1 needs 11 tokens .* max_num_batched_tokens is 10; it can never"):
        run(VllmV0(max_num_batched_tokens=10), 2, requests([4], prompts=[7]))
