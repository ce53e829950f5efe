"""vLLM V1: one budget of tokens, running requests first, prompts in chunks, the tail pays when blocks run out."""

from __future__ import annotations

from typing import Any

import pytest

from cbviz.errors import PolicyError
from cbviz.policies import VllmV1
from cbviz.run.schedule import schedule
from cbviz.trace import MARK_KINDS
from cbviz.workload import Request, Workload
from tests.pictures import picture, reasons, requests, run, tokens


def test_decodes_and_chunks_share_one_budget() -> None:
    """Budget 4. Iteration 0: prompt 1 (2) and two tokens of prompt 2 (7). Then 1 decodes and 2 gets the 3 left over.

    In iteration 2 it lacks only 2, so the last token of the budget is the first of prompt 3 (3).
    """
    steps = run(VllmV1(max_num_batched_tokens=4), 3, requests([4, 3, 2], prompts=[2, 7, 3]))
    assert picture(steps) == ["1111.", "22222", "..333"]
    assert tokens(steps) == [[2, 1, 1, 1, 0], [2, 3, 2, 1, 1], [0, 0, 1, 2, 1]]


def test_no_running_request_stalls() -> None:
    """The same arrivals as stall vllm_v0 three times."""
    steps = run(VllmV1(), 4, requests([3, 1, 1, 1], arrivals=[0, 1, 2, 3]))
    assert picture(steps) == ["1114", ".23.", "....", "...."]


def test_a_threshold_leaves_budget_for_others() -> None:
    """Budget 6, at most 4 for one request: prompt 2 (3) starts beside prompt 1 (12) instead of behind it."""
    work = requests([2, 2], prompts=[12, 3])
    whole = run(VllmV1(max_num_batched_tokens=6), 2, work)
    shared = run(VllmV1(max_num_batched_tokens=6, long_prefill_token_threshold=4), 2, work)
    assert tokens(whole) == [[6, 6, 1, 0], [0, 0, 3, 1]]
    assert tokens(shared) == [[4, 4, 4, 1], [2, 1, 1, 0]]


def test_the_tail_is_preempted_and_recomputed_in_chunks() -> None:
    """9 positions, budget 4. At 3 the pool is full and 1 needs one: 2, the newest, loses its 4.

    It has 5 tokens, and takes in what the budget allows once 5 are free: 4 at iteration 5 (recomputed), then the fifth.
    """
    steps = run(VllmV1(max_num_batched_tokens=4), 2, requests([5, 5], prompts=[3, 3]), blocks=9)
    assert picture(steps) == ["11111r222", "222......"]
    assert tokens(steps) == [[3, 1, 1, 1, 1, 4, 1, 1, 1], [1, 2, 1, 0, 0, 0, 0, 0, 0]]
    assert reasons(steps)[2:] == [
        (3, "preempted", 2, "request 1 needs its blocks"),
        (5, "admitted", 2, ""),
    ]


def test_an_iteration_that_preempts_admits_no_request() -> None:
    """2 is preempted at 2, and its slot and 4 blocks would do for 3, which is admitted an iteration later."""
    steps = run(VllmV1(), 3, requests([6, 6, 1], prompts=[3, 3, 1], arrivals=[0, 0, 2]), blocks=9)
    marks = [mark[:3] for mark in reasons(steps)]
    assert (2, "preempted", 2) in marks
    assert not [mark for mark in marks if mark[:2] == (2, "admitted")]


def test_a_newcomer_comes_in_only_if_its_whole_prompt_fits() -> None:
    """9 positions, budget 4. Prompt 2 (7) finds 6 free beside 1 and waits.

    Without the check its first chunk goes in, and is thrown out again.
    """
    work = requests([6, 2], prompts=[3, 7])
    checked = run(VllmV1(max_num_batched_tokens=4), 2, work, blocks=9)
    assert picture(checked) == ["111111222", "........."]
    rash = run(VllmV1(max_num_batched_tokens=4, reserve_full_sequence=False), 2, work, blocks=9)
    assert [mark[1] for mark in reasons(rash)].count("preempted") >= 1
    assert len(rash) >= len(checked)


def test_a_priority_overtakes_and_is_preempted_last() -> None:
    work = requests([4, 4, 4], arrivals=[0, 0, 1])
    assert picture(run(VllmV1(), 2, work)) == ["11113333", "2222...."]
    urgent = run(VllmV1(priority={3: -1}), 1, work)
    assert picture(urgent) == ["111133332222"]
    # 9 positions: 1 came first, but 2 is more urgent, so 1 is preempted when blocks run out.
    steps = run(VllmV1(priority={1: 5}), 2, requests([5, 5], prompts=[3, 3]), blocks=9)
    assert [mark[:3] for mark in reasons(steps) if mark[1] == "preempted"] == [(2, "preempted", 1)]
    assert len(steps) == 8


def test_a_budget_below_the_slots_admits_no_more_than_it_can_serve() -> None:
    steps = run(VllmV1(max_num_batched_tokens=2), 4, requests([3, 3, 3]))
    assert picture(steps) == ["111333", "222...", "......", "......"]


def test_more_memory_can_cost_iterations() -> None:
    """A lesson: V1 admits as soon as a prompt fits, whatever the outputs will need. Prompts of 5, 6 and 2, budget 8.

    With 11 blocks the second chunk of prompt 2 finds no room, so 2 is out after one chunk and 3 positions are lost.
    With 12 it does; 2 gives one token and is out an iteration later, with 6 positions to recompute. They and the token
    leave 1 of the budget instead of 2, so prompt 3 begins in two chunks, and ends an iteration later.
    """
    work = requests([6, 2, 5], prompts=[5, 6, 2])
    little = run(VllmV1(max_num_batched_tokens=8), 3, work, blocks=11)
    more = run(VllmV1(max_num_batched_tokens=8), 3, work, blocks=12)
    assert picture(little)[:2] == ["111111r2...", "2.....33333"]
    assert picture(more)[:2] == ["111111r.....", "22....333333"]
    assert tokens(little)[1] == [3, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1]
    assert tokens(more)[1] == [3, 3, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert (len(little), len(more)) == (11, 12)


def test_parameters_that_make_no_sense() -> None:
    for budget in (0, -1, 0.5, float("nan"), None, True):
        with pytest.raises(PolicyError, match="max_num_batched_tokens must be a whole number of at least 1"):
            VllmV1(max_num_batched_tokens=budget)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="long_prefill_token_threshold must be a whole number of at least 0"):
        VllmV1(long_prefill_token_threshold=-1)
    for priority in ([1, 2], {1: "high"}, 3):
        with pytest.raises(PolicyError, match="priority must map request ids to whole numbers"):
            VllmV1(priority=priority)  # type: ignore[arg-type]


def test_two_who_share_blocks_with_each_other_free_them_together() -> None:
    """Requests 1 and 2 begin alike. One by one they free next to nothing; when both have gone, all of it is free.

    Request 0 takes in its prompt in chunks of 8 and needs 8 blocks at once: throwing out 2 and then 1 makes room, so it
    continues itself. (Counted one by one, the room would never suffice, and all would be preempted.)
    """
    stem = tuple(range(100, 124))
    work = Workload(
        "",
        (
            Request(0, tuple(range(1, 41)), 2, output_length=2),
            Request(1, (*stem, 1), 9, output_length=9),
            Request(2, (*stem, 2), 9, arrival=3, output_length=9),
        ),
        arrival_unit="iterations",
    )
    policy = VllmV1(64, long_prefill_token_threshold=8)
    trace = schedule(policy, work, slots=3, block_size=1, kv_blocks=60, prefix_cache=True)
    preempted = trace.marks.request[trace.marks.kind == MARK_KINDS.index("preempt")].tolist()
    assert set(preempted) == {1, 2}
    assert [len(tokens) for tokens in trace.requests.tokens] == [2, 9, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reserve_full_sequence": "no"}, "reserve_full_sequence must be True or False, not 'no'"),
        ({"priority": {1: True}}, "priority must map request ids to whole numbers"),
        ({"priority": {"a": 1}}, "priority must map request ids to whole numbers"),
    ],
)
def test_flags_and_ranks_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        VllmV1(**options)
