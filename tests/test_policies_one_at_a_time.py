"""One at a time: the next begins when the one before has ended, however many slots are free."""

from __future__ import annotations

from cbviz.policies import OneAtATime, Static
from tests.pictures import picture, requests, run


def test_one_slot_is_used_whatever_there_is() -> None:
    work = requests([2, 3, 1])
    assert picture(run(OneAtATime(), 3, work)) == ["112223", "......", "......"]


def test_it_is_static_batching_with_a_batch_of_one() -> None:
    work = requests([2, 4, 3], prompts=[3, 1, 2], arrivals=[0, 0, 9])
    assert picture(run(OneAtATime(), 1, work)) == picture(run(Static(), 1, work)) == ["112222333"]
