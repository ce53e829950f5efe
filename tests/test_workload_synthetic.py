import pytest

from cbviz.errors import WorkloadError
from cbviz.workload.arrivals import AllAtOnce, Poisson
from cbviz.workload.lengths import ExponentialClipped, Fixed, Uniform
from cbviz.workload.synthetic import synthetic, yardstick

LAW = ExponentialClipped(mean=40, cap=160)


def test_forced_lengths_stay_hidden_from_the_scheduler() -> None:
    workload = synthetic(50, LAW, prompt_tokens=Uniform(4, 9), vocabulary=100, seed=3)
    assert len(workload) == 50
    assert [r.id for r in workload] == list(range(50))
    assert {r.max_new_tokens for r in workload} == {160}
    lengths = [r.output_length for r in workload]
    assert len(set(lengths)) > 10
    assert all(r.output_length is not None and 1 <= r.output_length <= 160 for r in workload)
    assert all(4 <= len(r.prompt) <= 9 for r in workload)
    assert {t for r in workload for t in r.prompt} <= set(range(3, 100))
    assert all(r.sampling.greedy and r.arrival == 0 for r in workload)


def test_unforced_lengths_are_only_a_limit() -> None:
    forced = synthetic(20, LAW, prompt_tokens=4, vocabulary=100, seed=3)
    free = synthetic(20, LAW, prompt_tokens=4, vocabulary=100, seed=3, forced=False)
    assert all(r.output_length is None for r in free)
    assert [r.max_new_tokens for r in free] == [r.output_length for r in forced]


def test_the_seed_decides_everything_and_the_streams_are_apart() -> None:
    one = synthetic(10, LAW, prompt_tokens=4, vocabulary=100, seed=1)
    assert one == synthetic(10, LAW, prompt_tokens=4, vocabulary=100, seed=1)
    assert one != synthetic(10, LAW, prompt_tokens=4, vocabulary=100, seed=2)
    later = synthetic(10, LAW, Poisson(2), prompt_tokens=4, vocabulary=100, seed=1, arrival_unit="iterations")
    assert [r.prompt for r in later] == [r.prompt for r in one]
    assert [r.output_length for r in later] == [r.output_length for r in one]
    assert later.arrival_unit == "iterations"
    assert later.requests[-1].arrival > 0
    assert one.name == ("random tokens; outputs exponential, mean 40, clipped to 160; prompts fixed, 4; all at once")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"requests": 0}, "number of requests"),
        ({"requests": -1}, "number of requests"),
        ({"requests": 2.0}, "number of requests"),
        ({"lengths": 0}, "fixed length"),
        ({"lengths": float("nan")}, "lengths must be a law"),
        ({"prompt_tokens": 0}, "fixed length"),
        ({"vocabulary": 3}, "too small"),
        ({"vocabulary": 0}, "size of the vocabulary"),
        ({"seed": -1}, "a seed"),
        ({"arrivals": AllAtOnce}, "arrivals must be a process"),
        ({"arrivals": 4}, "arrivals must be a process"),
        ({"arrival_unit": "years"}, "arrival_unit"),
    ],
)
def test_nonsense_gets_one_sentence(change: dict[str, object], says: str) -> None:
    good: dict[str, object] = {"requests": 3, "lengths": Fixed(2), "prompt_tokens": 4, "vocabulary": 50}
    with pytest.raises(WorkloadError, match=says):
        synthetic(**(good | change))  # type: ignore[arg-type]


def test_the_yardstick_is_the_workload_that_other_engines_were_timed_on() -> None:
    workload = yardstick(128)
    lengths = [r.output_length for r in workload]
    assert lengths[:8] == [238, 182, 70, 38, 92, 66, 196, 46]
    assert sum(x for x in lengths if x) == 18648
    assert workload.requests[0].prompt[:5] == (71292, 3921, 42930, 66750, 109641)
    assert workload.requests[127].prompt[-3:] == (55536, 52363, 77344)
    assert {len(r.prompt) for r in workload} == {128}
    assert {r.max_new_tokens for r in workload} == {512}
    assert {r.arrival for r in workload} == {0.0}


def test_the_large_yardstick_and_another_seed() -> None:
    large = yardstick(512)
    assert sum(r.output_length or 0 for r in large) == 67165
    assert large.requests[511].prompt[-3:] == (70197, 93722, 50958)
    other = yardstick(4, seed=7)
    assert [r.output_length for r in other] == [50, 21, 135, 10]
    assert other.requests[3].prompt[:3] == (42167, 124486, 5262)
    with pytest.raises(WorkloadError, match="number of requests"):
        yardstick(0)


def test_more_random_tokens_than_fit_are_refused_before_one_is_drawn() -> None:
    with pytest.raises(
        WorkloadError, match=r"^2 requests with prompt_tokens of up to 2,147,483,647 need 4,294,967,294 random tokens"
    ):
        synthetic(2, 4, prompt_tokens=2**31 - 1, vocabulary=1000)
