"""Who sits where, iteration by iteration: schedules worked by hand and closed forms, on an executor without a model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.events import FinishReason, Iteration
from cbviz.policies import Continuous, Policy, Static
from cbviz.workload.request import Request
from tests.pictures import picture, requests


def engine(policy: Policy, slots: int, lag: int = 0, blocks: int = 4000, unit: str = "seconds") -> Engine:
    return Engine(
        NullExecutor(seconds=1.0), policy, slots=slots, pool=BlockPool(blocks, 16), lag=lag, arrival_unit=unit
    )  # type: ignore[arg-type]


def serve(policy: Policy, slots: int, work: list[Request], lag: int = 0) -> list[Iteration]:
    return list(engine(policy, slots, lag).run(work))


def useful(run: list[Iteration]) -> int:
    return sum(it.useful for it in run)


TOY = requests([3, 6, 2, 3, 3, 2, 2], prompts=[3, 2, 3, 4, 2, 2, 2])
"""The figure everybody draws: S1 to S4, and S5 to S7 behind them (outputs include END)."""


@pytest.mark.parametrize("lag", [0, 1])
def test_toy_figure_static(lag: int) -> None:
    alone = serve(Static(), 4, TOY[:4], lag)
    assert picture(alone) == ["111hhh", "222222", "33hhhh", "444hhh"]
    assert (len(alone), useful(alone), 4 * len(alone)) == (6, 14, 24)
    with_queue = serve(Static(), 4, TOY, lag)
    assert picture(with_queue) == ["111hhh555", "22222266h", "33hhhh77h", "444hhh..."]
    assert (len(with_queue), useful(with_queue)) == (9, 21)


@pytest.mark.parametrize("lag", [0, 1])
def test_toy_figure_continuous(lag: int) -> None:
    run = serve(Continuous(), 4, TOY, lag)
    assert picture(run) == ["11166.", "222222", "33555.", "44477."]
    assert (len(run), useful(run), 4 * len(run)) == (6, 21, 24)
    seats = {m.request: (it.index, m.slot) for it in run for m in it.admitted}
    assert (seats[5], seats[6], seats[7]) == ((2, 2), (3, 0), (3, 3))


def test_two_requests_of_20_and_30_waste_one_sixth() -> None:
    work = requests([20, 30])
    run = serve(Static(), 2, work)
    wasted = 2 * len(run) - useful(run)
    assert (wasted, 2 * len(run)) == (10, 60)
    assert wasted / (2 * len(run)) == pytest.approx(1 / 6)


def test_run_to_is_the_baseline_that_knows_the_longest() -> None:
    run = serve(Static(run_to=8), 2, requests([3, 2, 1, 5, 8]))
    assert picture(run) == ["111hhhhh3hhhhhhh55555555", "22hhhhhh44444hhh........"]


def test_one_slot_makes_static_and_continuous_equal() -> None:
    work = requests([4, 1, 7, 2])
    assert picture(serve(Static(), 1, work)) == picture(serve(Continuous(), 1, work)) == ["11112333333344"]


def test_arrivals_are_seen_at_iteration_boundaries() -> None:
    work = requests([3, 3, 2], arrivals=[0.0, 1.5, 9.0])
    run = serve(Continuous(), 2, work)
    assert picture(run) == ["111..33", "..222.."]
    assert [it.arrived for it in run if it.arrived] == [(1,), (2,), (3,)]
    assert run[-2].t_start == 9.0, "no request is there, so the clock jumps to the next arrival"


def test_arrivals_counted_in_iterations() -> None:
    lanes = engine(Continuous(), 2, unit="iterations")
    run = list(lanes.run(requests([3, 3, 2], arrivals=[0, 2, 50])))
    assert picture(run) == ["111..33", "..222.."]


def test_static_waits_for_its_batch_while_others_wait() -> None:
    run = serve(Static(), 2, requests([2, 6, 1]))
    assert run[3].waiting == 1
    assert [it.waiting for it in run] == [1, 1, 1, 1, 1, 1, 0]


LAWS = {
    "fixed": (lambda rng: 40, 1.0),
    "uniform": (lambda rng: rng.randint(1, 199), 2 * 8 / 9),
    "exponential": (lambda rng: max(1, round(rng.expovariate(1 / 100))), sum(1 / k for k in range(1, 9))),
}


@pytest.mark.parametrize("law", LAWS)
def test_refilling_gains_what_theory_says(law: str) -> None:
    """S(n) = E[max of n] / E[L] at 8 slots: fixed 1, uniform(0, b) 2n/(n+1), exponential H_n (2.718)."""
    draw, expected = LAWS[law]
    rng = random.Random(20)
    work = requests([draw(rng) for _ in range(8 * 60)])
    lengths = sum(r.max_new_tokens for r in work)
    static = sum(1 for _ in Engine(NullExecutor(8192, 1.0), Static(), slots=8, pool=BlockPool(10_000, 16)).run(work))
    refill = sum(
        1 for _ in Engine(NullExecutor(8192, 1.0), Continuous(), slots=8, pool=BlockPool(10_000, 16)).run(work)
    )
    longest = max(r.max_new_tokens for r in work)
    assert max(lengths / 8, longest) <= refill <= lengths / 8 + (1 - 1 / 8) * longest
    assert static / (lengths / 8) == pytest.approx(expected, rel=0.08)


def test_no_request_finishes_later_than_under_static() -> None:
    """All at time 0, constant cost, same order: refilling delays no request."""
    rng = random.Random(3)
    for _ in range(20):
        work = requests([rng.randint(1, 30) for _ in range(25)])
        static, refill = (
            {f.request: it.index for it in serve(policy, 4, work) for f in it.finished}
            for policy in (Static(), Continuous())
        )
        assert all(refill[r] <= static[r] for r in static)


def test_an_end_is_seen_one_iteration_late_with_lag() -> None:
    """END comes from the tokens, which the host reads one step behind: its slot is held for that one iteration."""
    first_token = NullExecutor().context_limit  # any number: the null executor never ends an output by itself
    prompts = [Request(1, (5,), 9), Request(2, (7,), 2, output_length=2), Request(3, (9,), 2, output_length=2)]
    probe = Engine(NullExecutor(first_token, 1.0), Continuous(), slots=2, pool=BlockPool(100, 16))
    list(probe.run(prompts))
    end = probe.output(1)[2]
    assert end not in probe.output(1)[:2]
    pictures = []
    for lag in (0, 1):
        lanes = Engine(
            NullExecutor(4096, 1.0, end_tokens=(end,)), Continuous(), slots=2, pool=BlockPool(100, 16), lag=lag
        )
        run = list(lanes.run(prompts))
        pictures.append(picture(run))
        assert lanes.output(1) == probe.output(1)[:3]
        assert {f.request: f.reason for it in run for f in it.finished}[1] is FinishReason.END
    assert pictures == [["111.", "2233"], ["111h", "2233"]]


def test_held_rows_take_no_block_from_anybody() -> None:
    pool = BlockPool(8, 4)
    lane = Engine(NullExecutor(seconds=1.0), Static(run_to=30), slots=2, pool=pool)
    run = list(lane.run(requests([3, 12])))
    assert len(run) == 30
    assert all(it.blocks_used + it.blocks_reserved == 5 for it in run)
    assert max(int(it.context[0]) for it in run) == 4, "a held row stays within its own blocks"


def test_held_rows_stay_within_the_context() -> None:
    lane = Engine(NullExecutor(10, seconds=1.0), Static(run_to=30), slots=1, pool=BlockPool(8, 16))
    run = list(lane.run(requests([3])))
    assert len(run) == 30
    assert max(int(it.context[0]) for it in run) == 10


def test_blocks_are_counted_as_written_and_reserved() -> None:
    lane = Engine(NullExecutor(seconds=1.0), Continuous(), slots=1, pool=BlockPool(10, 4))
    run = list(lane.run(requests([6], prompts=[3])))
    assert [(it.blocks_used, it.blocks_reserved) for it in run] == [(1, 2), (1, 2), (2, 1), (2, 1), (2, 1), (2, 1)]
    assert all(it.blocks_total == 10 for it in run)


def test_the_queue_is_never_overtaken() -> None:
    """The second needs more blocks than are free; the third would fit, and waits all the same."""
    lane = Engine(NullExecutor(seconds=1.0), Continuous(), slots=3, pool=BlockPool(6, 4))
    run = list(lane.run(requests([7, 19, 3])))
    admitted = {m.request: it.index for it in run for m in it.admitted}
    assert admitted == {1: 0, 2: 7, 3: 7}


def test_same_seed_same_schedule() -> None:
    rng = random.Random(0)
    work = requests([rng.randint(1, 40) for _ in range(60)])
    one, two = serve(Continuous(), 5, work), serve(Continuous(), 5, work)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.request, b.request)
        assert np.array_equal(a.token, b.token)
        assert (a.t_start, a.t_end, a.finished, a.admitted) == (b.t_start, b.t_end, b.finished, b.admitted)
