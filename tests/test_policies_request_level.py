"""Request-level dynamic batching: start when enough wait or the oldest has waited the window; then run to the end."""

from __future__ import annotations

import pytest

from cbviz.errors import PolicyError
from cbviz.policies import RequestLevel, Static
from tests.pictures import picture, requests, run


def test_a_batch_starts_when_enough_wait() -> None:
    """1 comes at 0 and 2 at 3: the batch of two starts at 3, before 1 has waited 5. Then 3 and 4 wait for its end."""
    work = requests([2, 3, 1, 1], arrivals=[0, 3, 4, 5])
    steps = run(RequestLevel(batch_size=2, window=5), 3, work, unit="seconds")
    assert picture(steps) == ["11h3", "2224", "...."]
    assert [it.t_start for it in steps] == [3, 4, 5, 6]


def test_a_batch_starts_when_the_oldest_has_waited_enough() -> None:
    """2 comes within 1's window of 2 and shares its batch; none comes within 3's, so it starts alone, 2 late."""
    work = requests([2, 3, 1], arrivals=[0, 1, 9])
    steps = run(RequestLevel(window=2), 3, work, unit="seconds")
    assert picture(steps) == ["11h3", "222.", "...."]
    assert [it.t_start for it in steps] == [2, 3, 4, 11]


def test_the_window_may_be_counted_in_iterations() -> None:
    work = requests([2, 3, 1], arrivals=[0, 1, 9])
    steps = run(RequestLevel(window=2), 3, work, unit="iterations")
    assert picture(steps) == ["11h3", "222.", "...."]


def test_waiting_counts_from_the_arrival_and_not_from_the_end_of_the_batch() -> None:
    """3 comes while a batch runs; when that ends, 3 has waited its 3 and starts at once."""
    work = requests([5, 5, 2], arrivals=[0, 0, 2])
    steps = run(RequestLevel(window=3), 2, work, unit="seconds")
    assert picture(steps) == ["1111133", "22222.."]
    assert [it.t_start for it in steps] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("lag", [0, 1])
def test_no_window_is_static_batching(lag: int) -> None:
    work = requests([3, 6, 2, 3, 3], prompts=[3, 2, 3, 4, 2], arrivals=[0, 0, 1, 4, 30])
    assert picture(run(RequestLevel(window=0), 2, work, lag=lag)) == picture(run(Static(), 2, work, lag=lag))


def test_a_batch_larger_than_the_slots_is_one_for_every_slot() -> None:
    work = requests([2, 2, 2])
    assert picture(run(RequestLevel(batch_size=9, window=1), 2, work)) == ["1133", "22.."]


def test_parameters_that_make_no_sense() -> None:
    for size in (0, -1, 2.5, True, "4"):
        with pytest.raises(PolicyError, match="batch_size must be None or a whole number of at least 1"):
            RequestLevel(batch_size=size)  # type: ignore[arg-type]
    for window in (-0.1, float("nan"), float("inf"), "1", None):
        with pytest.raises(PolicyError, match="window must be a finite number of at least 0"):
            RequestLevel(window=window)  # type: ignore[arg-type]
