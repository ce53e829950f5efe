"""Text Generation Inference: when a prefill may pause all running requests."""

from __future__ import annotations

import pytest

from cbviz.errors import PolicyError
from cbviz.policies import TGI, Plan, RequestView, View
from tests.pictures import picture, reasons, requests, run, tokens


def test_new_requests_pause_the_others_once_enough_of_them_wait() -> None:
    """Two run, so ⌊2 × 1.2⌋ = 2 must wait. 3 comes at 1 and waits; 4 comes at 2: one prefill, 1 and 2 stall.

    Iteration 3 decodes all four. 5 has come by then: three run in iteration 4, ⌊3.6⌋ = 3 must wait, so it waits. At 5
    only 1 runs, ⌊1.2⌋ = 1 must wait, and 5 gets its prefill.
    """
    steps = run(TGI(), 6, requests([6, 4, 2, 3, 2], arrivals=[0, 0, 1, 2, 3]))
    assert picture(steps)[:4] == [
        "11s11s11",
        "22s2255.",
        "..33....",
        "..444...",
    ]
    assert reasons(steps) == [
        (0, "admitted", 1, "nothing running"),
        (0, "admitted", 2, "nothing running"),
        (2, "admitted", 3, "ratio met"),
        (2, "admitted", 4, "ratio met"),
        (2, "stalled", 1, "ratio met"),
        (2, "stalled", 2, "ratio met"),
        (5, "admitted", 5, "ratio met"),
        (5, "stalled", 1, "ratio met"),
    ]


def test_too_few_newcomers_wait_for_max_waiting_tokens() -> None:
    """3 alone never meets the ratio. The counter is 1 at iteration 1 and reaches 3 at iteration 3."""
    steps = run(TGI(max_waiting_tokens=3), 3, requests([8, 8, 3], arrivals=[0, 0, 1]))
    assert picture(steps) == ["111s11111", "222s22222", "...333..."]
    assert reasons(steps)[2:] == [
        (3, "admitted", 3, "waited too long"),
        (3, "stalled", 1, "waited too long"),
        (3, "stalled", 2, "waited too long"),
    ]


def test_a_prefill_that_paused_others_is_followed_by_a_decode() -> None:
    """Ratio 0: any waiting request may enter. Still 3 and 4 do not prefill in a row: iterations 5 and 6 decode."""
    steps = run(TGI(waiting_served_ratio=0), 4, requests([6, 6, 4, 4], arrivals=[0, 0, 1, 2]))
    assert picture(steps) == ["1s1s1111", "2s2s2222", ".33s33..", "...4444."]


def test_after_a_first_prefill_the_queue_is_looked_at_at_once() -> None:
    steps = run(TGI(waiting_served_ratio=1), 2, requests([4, 2], arrivals=[0, 1]))
    assert picture(steps) == ["1s111", ".22.."]


def test_the_queue_is_never_skipped_ahead() -> None:
    """Budget 20: request 1 takes 9, so 2 with 13 does not fit, and 3 with 3 waits behind it."""
    work = requests([8, 12, 2], prompts=[1, 1, 1])
    steps = run(TGI(max_batch_total_tokens=20, waiting_served_ratio=0), 3, work)
    assert picture(steps) == ["11111111222222222222", "........33..........", "...................."]


def test_fewer_than_the_ratio_fit_so_all_are_put_back() -> None:
    """Two run and two wait, but only one fits the budget: less than ⌊2 × 1.2⌋, so none is prefilled until 5."""
    work = requests([5, 5, 3, 3], arrivals=[0, 0, 1, 1])
    steps = run(TGI(max_batch_total_tokens=17), 4, work)
    assert picture(steps) == ["11111333", "22222444", "........", "........"]


def test_with_fewer_free_slots_than_the_ratio_wants_none_is_prefilled() -> None:
    """Two run, so ⌊2 × 1.2⌋ = 2 must be admitted together; two wait, and one of three slots is free."""
    running = tuple(
        RequestView(id=n, arrival=0.0, prompt_tokens=1, max_new_tokens=9, slot=n, admitted=0) for n in (1, 2)
    )
    waiting = tuple(RequestView(id=n, arrival=1.0, prompt_tokens=1, max_new_tokens=9) for n in (3, 4))
    view = View(
        iteration=3,
        now=0.0,
        slots=3,
        waiting=waiting,
        running=running,
        finished=(),
        free_slots=1,
        free_blocks=99,
        block_size=1,
        total_blocks=99,
        context_limit=99,
        last_admission=0,
    )
    plan = TGI().plan(view)
    assert plan == Plan(put_off=plan.put_off)
    assert plan.put_off[3] == (
        "1 slot is free for the 2 that wait, and a prefill that pauses 2 takes ⌊2 × 1.2⌋ = 2, or decodes since the "
        "last one to reach 20 (now 3)"
    )
    assert [entry.request for entry in TGI(waiting_served_ratio=0.5).plan(view).admit] == [3]


def test_the_prefill_budget_splits_a_crowd() -> None:
    """Four prompts of 3 with a prefill budget of 6: two at a time."""
    work = requests([3, 3, 3, 3], prompts=[3, 3, 3, 3])
    steps = run(TGI(max_batch_prefill_tokens=6, waiting_served_ratio=1), 4, work)
    assert picture(steps) == ["1s11", "2s22", ".333", ".444"]
    assert tokens(steps)[0] == [3, 0, 1, 1]
    assert tokens(steps)[2] == [0, 3, 1, 1]


def test_padding_costs_the_longest_row() -> None:
    """Prompts of 8 and 2, outputs of 2: 10 + 4 = 14 tokens ragged, but 2 × 8 + 2 + 2 = 20 padded.

    In a prefill of its own 2 counts 2 + 2 beside 1's 9 + 1: what merging the two will pad is not counted, as in TGI.
    """
    work = requests([2, 2], prompts=[8, 2])
    assert picture(run(TGI(max_batch_total_tokens=19), 2, work)) == ["11", "22"]
    assert picture(run(TGI(max_batch_total_tokens=19, padded=True), 2, work)) == ["1s1", ".22"]
    assert picture(run(TGI(max_batch_total_tokens=20, padded=True), 2, work)) == ["11", "22"]


def test_the_counter_runs_on_when_the_newcomers_are_gone() -> None:
    """3 ends in its own prefill at 3. The counter still starts there: 4, which comes at 4, goes in at 3 + 3 = 6."""
    steps = run(TGI(max_waiting_tokens=3), 3, requests([9, 9, 1, 1], arrivals=[0, 0, 1, 4]))
    assert picture(steps) == ["111s11s1111", "222s22s2222", "...3..4...."]


def test_one_object_serves_many_runs() -> None:
    policy, work = TGI(max_waiting_tokens=3), requests([8, 8, 3], arrivals=[0, 0, 1])
    assert picture(run(policy, 3, work)) == picture(run(policy, 3, work))


def test_parameters_that_make_no_sense() -> None:
    for ratio in (-0.1, float("nan"), float("inf"), "1.2", None, True):
        with pytest.raises(PolicyError, match="waiting_served_ratio must be a finite number of at least 0"):
            TGI(waiting_served_ratio=ratio)  # type: ignore[arg-type]
    for name in ("max_batch_total_tokens", "max_batch_prefill_tokens"):
        for value in (0, -5, 1.5):
            with pytest.raises(PolicyError, match=f"{name} must be None or a whole number of at least 1"):
                TGI(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="max_waiting_tokens must be a whole number of at least 0"):
        TGI(max_waiting_tokens=-1)


def test_requests_that_no_budget_ever_admits() -> None:
    work = requests([4], prompts=[7])
    with pytest.raises(PolicyError, match=r"request 1 needs 11 tokens .* max_batch_total_tokens is 10; it can never"):
        run(TGI(max_batch_total_tokens=10), 2, work)
    with pytest.raises(PolicyError, match=r"request 1 needs 7 tokens \(its prompt\), but max_batch_prefill"):
        run(TGI(max_batch_prefill_tokens=6), 2, work)


def test_a_ratio_that_is_never_met() -> None:
    """Its product with those who run is infinite; newcomers come in by waiting alone, or into an empty engine."""
    steps = run(TGI(waiting_served_ratio=1e308, max_waiting_tokens=5), 4, requests([9, 9, 4, 4], arrivals=[0, 0, 1, 2]))
    assert steps
    with pytest.raises(PolicyError, match="padded must be True or False, not 'no'"):
        TGI(padded="no")  # type: ignore[arg-type]
