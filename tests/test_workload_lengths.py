import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbviz.errors import WorkloadError
from cbviz.workload.lengths import (
    Empirical,
    ExponentialClipped,
    ExponentialTruncated,
    Fixed,
    LengthLaw,
    LogNormal,
    Uniform,
    as_law,
)

LAWS = [
    Fixed(7),
    Uniform(1, 31),
    ExponentialClipped(mean=128, cap=512),
    ExponentialTruncated(mean=128, cap=32),
    LogNormal(mean=100, cv=1.2, cap=2048),
    Empirical([3, 1, 4, 1, 5]),
]
NAN, INF = float("nan"), float("inf")


def mean_of(law: LengthLaw, draws: int = 20_000) -> float:
    return sum(law.draw(random.Random(1), draws)) / draws


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_draws_are_seeded_whole_and_in_range(law: LengthLaw) -> None:
    assert isinstance(law, LengthLaw)
    drawn = law.draw(random.Random(5), 500)
    assert drawn == law.draw(random.Random(5), 500)
    assert len(drawn) == 500
    assert all(type(x) is int and 1 <= x <= law.longest for x in drawn)
    assert law.draw(random.Random(5), 0) == []
    assert law.describe()
    if not isinstance(law, Fixed):
        assert drawn != law.draw(random.Random(6), 500)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_draws_refuse_nonsense(law: LengthLaw) -> None:
    with pytest.raises(WorkloadError, match="number of draws"):
        law.draw(random.Random(0), -1)
    with pytest.raises(WorkloadError, match=r"random\.Random"):
        law.draw(0, 3)  # type: ignore[arg-type]


def test_means_are_what_the_docstrings_say() -> None:
    assert mean_of(Fixed(9)) == 9
    assert mean_of(Uniform(1, 31)) == pytest.approx(16, rel=0.02)
    assert mean_of(ExponentialClipped(128, 512)) == pytest.approx(128 * (1 - math.exp(-4)), rel=0.02)
    assert mean_of(Empirical([2, 4, 9])) == pytest.approx(5, rel=0.02)
    # The cap lies 100 standard deviations off, so clipping does not touch the mean.
    assert mean_of(LogNormal(mean=100, cv=0.5, cap=5000)) == pytest.approx(100, rel=0.02)


def test_log_normal_has_the_cv_it_was_given() -> None:
    drawn = LogNormal(mean=200, cv=0.8, cap=100_000).draw(random.Random(3), 40_000)
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in drawn) / len(drawn))
    assert deviation / mean == pytest.approx(0.8, rel=0.05)


@pytest.mark.parametrize(("cap", "mean"), [(32, 15.6), (128, 53.8), (512, 118.5), (1536, 127.5)])
def test_truncation_reaches_the_means_of_the_2023_benchmark(cap: int, mean: float) -> None:
    assert mean_of(ExponentialTruncated(mean=128, cap=cap), 40_000) == pytest.approx(mean, rel=0.02)


def test_truncation_is_the_law_of_rejection() -> None:
    rng, rejected = random.Random(2), []
    while len(rejected) < 20_000:
        x = round(rng.expovariate(1 / 40))
        if x <= 30:
            rejected.append(max(1, x))
    inverted = ExponentialTruncated(40, 30).draw(random.Random(3), 20_000)
    for length in range(1, 31):
        here, there = inverted.count(length), rejected.count(length)
        assert abs(here - there) < 5 * math.sqrt(here + there), length


def test_clipping_piles_up_at_the_cap_and_truncation_does_not() -> None:
    clipped = ExponentialClipped(128, 128).draw(random.Random(0), 5000)
    truncated = ExponentialTruncated(128, 128).draw(random.Random(0), 5000)
    assert clipped.count(128) / 5000 == pytest.approx(math.exp(-1), abs=0.03)
    assert truncated.count(128) / 5000 < 0.02


@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(min_value=1, max_value=10**6), st.integers(0, 2**32))
def test_extreme_parameters_neither_hang_nor_leave_the_range(mean: float, cap: int, seed: int) -> None:
    for law in (ExponentialClipped(mean, cap), ExponentialTruncated(mean, cap), LogNormal(mean, mean, cap)):
        assert all(1 <= x <= cap for x in law.draw(random.Random(seed), 20))


@pytest.mark.parametrize("bad", [0, -3, NAN, INF, True, "many", None])
def test_parameters_that_make_no_sense(bad: object) -> None:
    for build in (
        lambda: ExponentialClipped(bad, 5),  # type: ignore[arg-type]
        lambda: ExponentialTruncated(bad, 5),  # type: ignore[arg-type]
        lambda: LogNormal(bad, 1.0, 5),  # type: ignore[arg-type]
        lambda: LogNormal(5, bad, 5),  # type: ignore[arg-type]
    ):
        with pytest.raises(WorkloadError, match="finite number above 0"):
            build()
    for build in (
        lambda: Fixed(bad),  # type: ignore[arg-type]
        lambda: Uniform(bad, 5),  # type: ignore[arg-type]
        lambda: Uniform(1, bad),  # type: ignore[arg-type]
        lambda: ExponentialClipped(5, bad),  # type: ignore[arg-type]
        lambda: ExponentialTruncated(5, bad),  # type: ignore[arg-type]
        lambda: LogNormal(5, 1, bad),  # type: ignore[arg-type]
        lambda: Empirical([3, bad]),  # type: ignore[list-item]
    ):
        with pytest.raises(WorkloadError, match="whole number"):
            build()


def test_uniform_and_empirical_say_what_they_need() -> None:
    with pytest.raises(WorkloadError, match="low <= high, not 5 and 3"):
        Uniform(5, 3)
    for nothing in ([], (), "123", 7):
        with pytest.raises(WorkloadError, match="at least one observed length"):
            Empirical(nothing)  # type: ignore[arg-type]


def test_a_whole_number_is_a_fixed_law() -> None:
    assert as_law(5) == Fixed(5)
    law = Uniform(1, 2)
    assert as_law(law) is law
    for bad in (True, 2.5, "long", Fixed):
        with pytest.raises(WorkloadError, match="lengths must be a law"):
            as_law(bad)  # type: ignore[arg-type]
