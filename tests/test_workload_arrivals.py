import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbviz.errors import WorkloadError
from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess, GammaBursty, Poisson

NAN, INF = float("nan"), float("inf")


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in zip([0.0, *times], times, strict=False)]


@pytest.mark.parametrize("process", [AllAtOnce(), Poisson(4), GammaBursty(4, 0.3)], ids=lambda p: type(p).__name__)
def test_times_are_seeded_and_never_go_back(process: ArrivalProcess) -> None:
    assert isinstance(process, ArrivalProcess)
    times = process.times(random.Random(1), 200)
    assert times == process.times(random.Random(1), 200)
    assert len(times) == 200
    assert all(gap >= 0 for gap in gaps(times))
    assert process.times(random.Random(1), 0) == []
    with pytest.raises(WorkloadError, match="number of requests"):
        process.times(random.Random(0), -1)
    with pytest.raises(WorkloadError, match=r"random\.Random"):
        process.times(None, 1)  # type: ignore[arg-type]


def test_all_at_once() -> None:
    assert AllAtOnce().times(random.Random(0), 3) == [0, 0, 0]


@pytest.mark.parametrize(("burstiness", "cv"), [(0.25, 2.0), (1.0, 1.0), (4.0, 0.5)])
def test_gaps_have_the_rate_and_the_cv_of_their_burstiness(burstiness: float, cv: float) -> None:
    drawn = gaps(GammaBursty(rate=5, burstiness=burstiness).times(random.Random(7), 40_000))
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((g - mean) ** 2 for g in drawn) / len(drawn))
    assert mean == pytest.approx(1 / 5, rel=0.03)
    assert deviation / mean == pytest.approx(cv, rel=0.05)


def test_poisson_is_gamma_with_burstiness_one() -> None:
    assert Poisson(3).times(random.Random(2), 50) == GammaBursty(3, 1).times(random.Random(2), 50)


def test_stretching_puts_the_last_arrival_at_n_over_rate() -> None:
    plain = Poisson(8).times(random.Random(3), 100)
    stretched = Poisson(8, stretch=True).times(random.Random(3), 100)
    assert stretched[-1] == pytest.approx(100 / 8)
    assert plain[-1] != pytest.approx(100 / 8, rel=1e-3)
    factor = stretched[0] / plain[0]
    assert stretched == pytest.approx([t * factor for t in plain])


@pytest.mark.parametrize("bad", [0, -1, NAN, INF, True, "fast", None])
def test_rates_that_make_no_sense(bad: object) -> None:
    with pytest.raises(WorkloadError, match="arrival rate must be a finite number above 0"):
        Poisson(bad)  # type: ignore[arg-type]
    with pytest.raises(WorkloadError, match="arrival rate must be a finite number above 0"):
        GammaBursty(bad, 1)  # type: ignore[arg-type]
    with pytest.raises(WorkloadError, match="burstiness must be a finite number above 0"):
        GammaBursty(1, bad)  # type: ignore[arg-type]


def test_burstiness_has_a_ceiling() -> None:
    with pytest.raises(WorkloadError, match="at most a million"):
        GammaBursty(1, 1e7)


@given(st.floats(min_value=1e-300, max_value=1e308), st.floats(min_value=5e-324, max_value=1e6), st.booleans())
def test_extreme_parameters_neither_hang_nor_go_back(rate: float, burstiness: float, stretch: bool) -> None:
    process = GammaBursty(rate, burstiness, stretch)
    try:
        times = process.times(random.Random(0), 5)
    except WorkloadError:  # overflow: it may be refused, but only if gaps are that long
        assert rate < 1e-300 or burstiness < 1e-300
    else:
        assert all(math.isfinite(t) and t >= 0 for t in times)
        assert all(gap >= 0 for gap in gaps(times))


def test_times_beyond_all_numbers_are_refused() -> None:
    with pytest.raises(WorkloadError, match="that overflow"):
        Poisson(5e-324).times(random.Random(0), 5)


def test_burstiness_one_is_called_poisson() -> None:
    assert GammaBursty(4, 1).describe() == Poisson(4).describe() == "Poisson, rate 4"
    assert GammaBursty(4, 0.5).describe() == "Gamma, rate 4, burstiness 0.5"
