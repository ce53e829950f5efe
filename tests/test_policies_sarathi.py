"""Sarathi-Serve: no decode ever waits; prompts fill what the decodes leave of the budget."""

from __future__ import annotations

import pytest

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import PolicyError
from cbviz.policies import Sarathi
from tests.pictures import picture, reasons, requests, run, tokens


def test_prompts_fill_what_the_decodes_leave() -> None:
    """Budget 4, prompts of 2, 7 and 3. All 7 blocks of prompt 2 are taken at admission, with its first chunk."""
    steps = run(Sarathi(chunk_size=4), 3, requests([4, 3, 2], prompts=[2, 7, 3]))
    assert picture(steps) == ["1111.", "22222", "..333"]
    assert tokens(steps) == [[2, 1, 1, 1, 0], [2, 3, 2, 1, 1], [0, 0, 1, 2, 1]]
    assert [(it.blocks_used, it.blocks_reserved) for it in steps[:3]] == [(4, 5), (8, 2), (12, 2)]


def test_a_long_prompt_stalls_no_decode() -> None:
    """The prompt of 9 comes at 2. vllm_v0 would stop 1 for it; here 1 decodes on and the prompt takes three chunks."""
    steps = run(Sarathi(chunk_size=4), 2, requests([8, 2], prompts=[1, 9], arrivals=[0, 2]))
    assert picture(steps) == ["11111111", "..2222.."]
    assert tokens(steps) == [[1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 3, 3, 3, 1, 0, 0]]


def test_a_begun_prompt_goes_before_a_new_one() -> None:
    steps = run(Sarathi(chunk_size=5), 3, requests([1, 1, 1], prompts=[7, 4, 2]))
    assert tokens(steps) == [[5, 2, 2], [0, 3, 1], [0, 0, 0]]


def test_decodes_that_spend_the_budget_keep_prompts_out() -> None:
    """Budget 2: while 1 and 2 decode, nothing is left for the prompt of 3."""
    steps = run(Sarathi(chunk_size=2), 3, requests([4, 4, 2], prompts=[1, 1, 4]))
    assert picture(steps) == ["1111333", "2222...", "......."]


def test_a_prompt_takes_what_is_left_and_never_a_decodes_turn() -> None:
    """Budget 3: 1 and 2 take one each, the prompt of 5 gets 1 at a time."""
    steps = run(Sarathi(chunk_size=3), 3, requests([4, 4, 2], prompts=[1, 1, 5]))
    assert tokens(steps) == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]


def test_a_begun_prompt_stalls_only_if_the_budget_shrinks() -> None:
    """Prompt 2 begins beside 1 with a budget of 4. A budget of 1 goes to 1's decode until 1 has ended."""
    engine = Engine(NullExecutor(), Sarathi(chunk_size=4), slots=2, pool=BlockPool(50, 1))
    engine.submit(*requests([3, 1], prompts=[1, 5]))
    steps = [engine.step()]
    engine.policy = Sarathi(chunk_size=1)
    steps += list(engine.run())
    seen = [step for step in steps if step]
    assert tokens(seen) == [[1, 1, 1, 0, 0], [3, 0, 0, 1, 1]]
    assert reasons(seen)[2:] == [(i, "stalled", 2, "budget spent on decodes") for i in (1, 2)]


def test_the_newest_is_preempted_and_gets_all_its_blocks_back_at_once() -> None:
    """As under vllm_v1, but at iteration 5 all 5 blocks are taken with the first chunk of 4."""
    steps = run(Sarathi(chunk_size=4), 2, requests([5, 5], prompts=[3, 3]), blocks=9)
    assert picture(steps) == ["11111r222", "222......"]
    assert [mark for mark in reasons(steps) if mark[1] == "preempted"] == [
        (3, "preempted", 2, "request 1 needs its blocks")
    ]
    assert (steps[5].blocks_used, steps[5].blocks_reserved) == (4, 1)


def test_a_decode_without_a_victim_preempts_itself() -> None:
    """12 positions, prompts of 9 and 2. At 2 request 1 takes the last block, and no request behind 2 can give one."""
    steps = run(Sarathi(chunk_size=6), 2, requests([2, 4], prompts=[9, 2]), blocks=12)
    assert picture(steps) == ["111r22", ".2...."]
    assert [mark for mark in reasons(steps) if mark[1] == "preempted"] == [(2, "preempted", 2, "no block is free")]


def test_parameters_that_make_no_sense() -> None:
    for chunk in (0, -3, 1.5, None, True, float("nan")):
        with pytest.raises(PolicyError, match="chunk_size must be a whole number of at least 1"):
            Sarathi(chunk_size=chunk)  # type: ignore[arg-type]
    for watermark in (-0.5, 1, float("nan")):
        with pytest.raises(PolicyError, match="watermark must be a number from 0 to below 1"):
            Sarathi(watermark=watermark)
