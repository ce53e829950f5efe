"""Orca: refill before every iteration, in order of arrival, with memory reserved before a request starts."""

from __future__ import annotations

import pytest

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import PolicyError
from cbviz.policies import Continuous, Orca
from cbviz.workload.request import Request
from tests.pictures import picture, requests, run

# Prompts of 2 and outputs of 3, 2, 2: they need 5, 4 and 4 positions.
WORK = requests([3, 2, 2], prompts=[2, 2, 2])


def test_a_request_starts_only_when_all_it_may_need_is_reserved() -> None:
    """Of 8 positions request 1 reserves 5, so 2, which needs 4, waits until 1 has left."""
    steps = run(Orca(), 2, WORK, blocks=8)
    assert picture(steps) == ["11122", "...33"]
    assert [it.blocks_used + it.blocks_reserved for it in steps] == [5, 5, 5, 8, 8]


def test_selection_stops_at_the_first_misfit() -> None:
    """Of 9 positions 1 leaves 4: the large request 2 does not fit, and 3, which would, waits behind it."""
    work = requests([3, 5, 2], prompts=[2, 2, 2])
    assert picture(run(Orca(), 3, work, blocks=9)) == ["1112222233", "..........", ".........."]


def test_prefills_and_decodes_share_an_iteration() -> None:
    steps = run(Orca(), 2, WORK)
    assert picture(steps) == ["111.", "2233"]
    assert [int(it.tokens.sum()) for it in steps] == [4, 2, 3, 1]


def test_declared_is_continuous_batching() -> None:
    work = requests([5, 1, 4, 2, 6, 3], prompts=[3, 1, 2, 4, 1, 1], arrivals=[0, 0, 1, 2, 2, 9])
    assert picture(run(Orca(), 3, work, blocks=20)) == picture(run(Continuous(), 3, work, blocks=20))


@pytest.mark.parametrize(
    ("policy", "reserved"),
    [
        (Orca(), [2 + 5, 2 + 9]),
        (Orca("power_of_two"), [2 + 8, 2 + 16]),
        (Orca("maximum"), [40, 40]),
        (Orca("oracle", lengths={1: 3, 2: 9}), [2 + 3, 2 + 9]),
        (Orca("power_of_two", lengths={1: 3, 2: 9}), [2 + 4, 2 + 16]),
    ],
)
def test_what_each_variant_reserves(policy: Orca, reserved: list[int]) -> None:
    """Two prompts of 2, declared outputs of 5 and 9, true outputs of 3 and 9; a context of 40."""
    work = [Request(1, (1, 2), 5, output_length=3), Request(2, (1, 2), 9, output_length=9)]
    engine = Engine(NullExecutor(40), policy, slots=2, pool=BlockPool(100, 1))
    engine.submit(*work)
    engine.step()
    assert [len(engine.pool.owned(r.id)) for r in work] == reserved
    list(engine.run())
    assert [len(engine.output(r.id)) for r in work] == [3, 9]
    assert engine.pool.free == 100


def test_a_reservation_never_exceeds_the_context() -> None:
    work = requests([17], prompts=[2])
    steps = run(Orca("power_of_two"), 1, work, blocks=20)
    assert steps[0].blocks_used + steps[0].blocks_reserved == 20
    assert len(steps) == 17


def test_knowing_more_never_takes_longer() -> None:
    """In equal memory: the oracle fits the most requests at a time, the maximum the fewest.

    Rounding up the truth lies above the oracle, but not always below the declaration: 17 of at most 20 become 32.
    """
    work = [Request(i, (1, 2, 3), 20, output_length=1 + 7 * i % 20) for i in range(12)]
    truth = {r.id: r.output_length or 0 for r in work}
    oracle, rounded, declared, maximum = (
        len(run(policy, 8, work, blocks=50))
        for policy in (Orca("oracle", truth), Orca("power_of_two", truth), Orca(), Orca("maximum"))
    )
    assert oracle < declared < maximum
    assert oracle < rounded < maximum


def test_cheating_is_marked() -> None:
    assert Orca().name == "orca"
    assert not Orca("maximum").cheats
    for policy in (Orca("oracle", lengths={1: 3}), Orca("power_of_two", lengths={1: 3})):
        assert policy.cheats
        assert "cheating" in policy.name
        assert "cheating" in policy.summary


def test_parameters_that_make_no_sense() -> None:
    for arguments, message in (
        (("half",), "reserve must be one of declared, power_of_two, maximum, oracle, not 'half'"),
        (("oracle",), "an oracle needs the true lengths"),
        (("declared", {1: 3}), "reserve='declared' uses no lengths"),
        (("oracle", [3, 4]), "lengths must map request ids to tokens, not be list"),
        (("oracle", {1: 0}), "the length of request 1 must be a whole number of at least 1, not 0"),
        (("oracle", {1: float("nan")}), "the length of request 1 must be a whole number"),
    ):
        with pytest.raises(PolicyError, match=message):
            Orca(*arguments)  # type: ignore[arg-type]


def test_an_oracle_that_errs() -> None:
    work = requests([4, 4])
    with pytest.raises(PolicyError, match="iteration 0: orca has no length for request 2"):
        run(Orca("oracle", lengths={1: 4}), 2, work)
    with pytest.raises(PolicyError, match="request 2 has 3 output tokens, and its given length is 2"):
        run(Orca("oracle", lengths={1: 4, 2: 2}), 2, work)
