"""The closed forms, against known figures, against each other, and against simulation."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import MeasureError
from cbviz.measure import (
    compare,
    continuous_iterations,
    decode_floor,
    erlang_c,
    harmonic,
    in_system,
    kv_bytes_per_token,
    kv_tokens_per_busy_slot,
    latencies,
    makespan_bounds,
    pollaczek_khinchine,
    queue_wait,
    speedup_bound,
    speedup_clipped_exponential,
    speedup_discrete,
    speedup_empirical,
    speedup_exponential,
    speedup_fixed,
    speedup_shrinking,
    speedup_truncated_exponential,
    speedup_uniform,
    speedup_with_prefill,
    static_iterations,
)
from cbviz.workload import ExponentialTruncated
from tests.fake_runs import record, request, scheduled, scheduled_trace

Draws = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def monte_carlo(
    draw: Callable[[np.random.Generator, tuple[int, int]], Draws], slots: int, batches: int = 40_000
) -> float:
    x = draw(np.random.default_rng(7), (batches, slots))
    return float(x.max(axis=1).mean() / x.mean())


# ---------------------------------------------------------------- S(n)


@pytest.mark.parametrize(
    ("slots", "value"), [(1, 1.0), (8, 2.718), (16, 3.381), (32, 4.058), (128, 5.433), (256, 6.124)]
)
def test_exponential_lengths_gain_the_harmonic_number(slots: int, value: float) -> None:
    assert speedup_exponential(slots) == pytest.approx(value, abs=5e-4)
    assert harmonic(slots) == speedup_exponential(slots)


@pytest.mark.parametrize("slots", [1, 2, 8, 32, 128])
def test_every_law_against_random_batches(slots: int) -> None:
    """40,000 batches of n draws each; the error of the mean is well below half a percent."""

    def truncated(rng: np.random.Generator, size: tuple[int, int]) -> Draws:
        return -np.log1p(-(1 - math.exp(-1.7)) * rng.random(size))

    observed = np.array([3.0, 3, 4, 9, 30, 31, 200])
    for formula, draw in (
        (speedup_fixed(slots), lambda rng, size: np.full(size, 5.0)),
        (speedup_exponential(slots), lambda rng, size: rng.exponential(3, size)),
        (speedup_uniform(slots), lambda rng, size: rng.random(size)),
        (speedup_uniform(slots, 2, 5), lambda rng, size: rng.uniform(2, 5, size)),
        (speedup_clipped_exponential(slots, 10, 25), lambda rng, size: np.minimum(rng.exponential(10, size), 25)),
        (speedup_truncated_exponential(slots, 10, 17), truncated),
        (speedup_empirical(slots, observed), lambda rng, size: rng.choice(observed, size)),
        (speedup_discrete(slots, [0.5, 0, 0.25, 0.25]), lambda rng, size: rng.choice([1.0, 1, 3, 4], size)),
    ):
        assert monte_carlo(draw, slots) == pytest.approx(formula, rel=0.01)  # type: ignore[arg-type]


def test_truncated_against_its_own_closed_form_where_that_does_not_cancel() -> None:
    for slots in (1, 2, 7, 20):
        for cap in (0.5, 2.0, 6.0):
            w = 1 - math.exp(-cap)
            longest = cap * (1 - w**-slots) + w**-slots * sum(w**k / k for k in range(1, slots + 1))
            mean = 1 - cap * (1 - w) / w
            assert speedup_truncated_exponential(slots, 1.0, cap) == pytest.approx(longest / mean, rel=1e-6)


def test_truncated_between_its_two_limits() -> None:
    """A cap far above the mean changes nothing; a cap far below it leaves a uniform law."""
    for slots in (1, 8, 1000, 100_000):
        assert speedup_truncated_exponential(slots, 1.0, 500.0) == pytest.approx(harmonic(slots), rel=1e-9)
        assert speedup_truncated_exponential(slots, 1.0, 1e-6) == pytest.approx(speedup_uniform(slots), rel=1e-6)
        assert speedup_truncated_exponential(slots, 1.0, 1e-9) == speedup_uniform(slots)


def test_clipped_between_its_two_limits() -> None:
    for slots in (1, 8, 1000):
        assert speedup_clipped_exponential(slots, 1.0, 500.0) == pytest.approx(harmonic(slots))
        assert speedup_clipped_exponential(slots, 1.0, 1e-9) == pytest.approx(1.0)


def test_discrete_is_the_exact_form_of_empirical_and_geometric() -> None:
    assert speedup_discrete(4, [0.25, 0.5, 0, 0.25]) == pytest.approx(speedup_empirical(4, [1, 2, 2, 4]))
    p, k = 0.05, np.arange(2000)
    geometric = p * (1 - p) ** k
    tail = (1 - (1 - (1 - p) ** k) ** 8).sum()
    assert speedup_discrete(8, geometric / geometric.sum()) == pytest.approx(p * tail, rel=1e-9)


@pytest.mark.parametrize(
    ("cap", "slots", "to_longest_of_batch"), [(32, 16, 0.515), (128, 12, 0.473), (512, 8, 0.394), (1536, 4, 0.481)]
)
def test_the_useful_share_of_static_batches_on_the_23x_workload(
    cap: int, slots: int, to_longest_of_batch: float
) -> None:
    """1,000 rejection-truncated exponential lengths of mean 128 on the article's batch sizes, ideally scheduled."""
    rng = random.Random(23)
    shares = []
    for _ in range(30):
        lengths = ExponentialTruncated(128, cap).draw(rng, 1000)
        shares.append(sum(lengths) / (slots * static_iterations(lengths, slots)))
        assert sum(lengths) / (slots * continuous_iterations(lengths, slots)) > 0.95
    assert np.mean(shares) == pytest.approx(to_longest_of_batch, abs=0.012)
    assert 1 / speedup_truncated_exponential(slots, 128, cap) == pytest.approx(to_longest_of_batch, abs=0.012)


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=50), slots=st.integers(1, 300))
def test_no_law_gains_more_than_the_bound(lengths: list[int], slots: int) -> None:
    cv = float(np.std(lengths) / np.mean(lengths))
    assert 1 - 1e-9 <= speedup_empirical(slots, lengths) <= speedup_bound(slots, cv) + 1e-9


def test_the_bound_itself() -> None:
    assert speedup_bound(8, 0.0) == 1
    assert speedup_bound(8, 100.0) == 8
    assert speedup_bound(5, 0.6) == pytest.approx(1 + 0.6 * 4 / 3)


# ---------------------------------------------------------------- given lists


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), slots=st.integers(1, 6))
def test_iterations_are_those_of_a_run(lengths: list[int], slots: int) -> None:
    """The counts agree with runs iteration by iteration, and finite lists keep Graham's bounds."""
    static, continuous = scheduled_trace(lengths, slots, "static"), scheduled_trace(lengths, slots)
    assert static_iterations(lengths, slots) == len(static.iterations)
    assert continuous_iterations(lengths, slots) == len(continuous.iterations)
    low, high = makespan_bounds(lengths, slots)
    assert low <= continuous_iterations(lengths, slots) <= high + 1e-9
    assert static_iterations(lengths, slots, run_to=30) == 30 * -(-len(lengths) // slots)
    # All arrive at 0 and iterations take equally long: no request finishes later than under static batching.
    assert (continuous.requests.finished <= static.requests.finished).all()


def test_a_request_can_finish_later_if_an_iteration_grows_with_its_work() -> None:
    """Outputs 1, 3, 1 on two slots; an iteration takes 1 s and 5 s more for each prefill in it.

    Static: 11 + 1 + 1 s, and request 1 is done. Continuous takes request 2 in beside it: 11 + 6 + 1 s.
    """

    def cost(busy: int, prefills: int) -> float:
        return 1.0 + 5.0 * prefills

    static, continuous = (scheduled_trace([1, 3, 1], 2, policy, cost) for policy in ("static", "continuous"))
    assert latencies(static).e2el.tolist() == [11, 13, 19]
    assert latencies(continuous).e2el.tolist() == [11, 18, 17]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.sampled_from([2, 4, 8]), a=st.floats(0.5, 3), b=st.floats(0, 1))
def test_a_static_batch_that_drops_finished_rows(seed: int, slots: int, a: float, b: float) -> None:
    """1 + (S − 1) a/(a + bn), exactly, if S is what the same list gains and it ends evenly."""
    rng = np.random.default_rng(seed)
    batches = np.sort(rng.integers(1, 50, (40, slots)))
    longest, total = batches[:, -1].sum(), batches.sum()
    dropping = a * longest + b * total
    refilled = (a + b * slots) * total / slots
    assert dropping / refilled == pytest.approx(speedup_shrinking(longest * slots / total, slots, a, b))


def test_prefill_dilutes_the_gain() -> None:
    assert speedup_with_prefill(2.718, 8, 64, 1.0, 0.0) == pytest.approx((2.718 * 64 - 1) / 63)
    assert speedup_with_prefill(2.718, 8, 64, 1.0, 1e9) == pytest.approx(1.0, abs=1e-6)
    assert speedup_with_prefill(1.0, 8, 64, 1.0, 5.0) == 1.0
    # By hand: outputs 1 and 3 in a batch of 2, prefills of 4 s apart, decode iterations of 1 s. Static: 8 + 2 s. The
    # ideal refill: 2 decode iterations' work in two slots is 1 iteration a batch, so 8 + 1.
    assert speedup_with_prefill(1.5, 2, 2, 1.0, 4.0) == pytest.approx(10 / 9)


# ---------------------------------------------------------------- waiting


def simulated_waits(rate: float, services: np.ndarray[Any, np.dtype[np.float64]], slots: int) -> float:
    """First come first served on equal slots, one request at a time."""
    free = [0.0] * slots
    now, waited = 0.0, 0.0
    for gap, service in zip(np.random.default_rng(11).exponential(1 / rate, len(services)), services, strict=True):
        now += gap
        begin = max(now, free[0])
        waited += begin - now
        heapq.heapreplace(free, begin + service)
    return float(waited / len(services))


def test_pollaczek_khinchine_against_a_simulated_slot() -> None:
    rng = np.random.default_rng(3)
    for services in (
        np.full(200_000, 1.0),
        rng.exponential(1.0, 200_000),
        rng.choice([0.5, 3.0], 200_000, p=[0.8, 0.2]),
    ):
        mean, second = float(services.mean()), float((services**2).mean())
        predicted = pollaczek_khinchine(0.6 / mean, mean, second)
        assert simulated_waits(0.6 / mean, services, 1) == pytest.approx(predicted, rel=0.03)
    assert pollaczek_khinchine(0.5, 1.0, 2.0) == pytest.approx(1.0)  # M/M/1: ρ/(1−ρ) services


def test_erlang_c_against_simulated_slots_and_known_values() -> None:
    assert erlang_c(1, 0.3) == pytest.approx(0.3)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10_000, 5_000.0) == pytest.approx(0.0, abs=1e-300)
    services = np.random.default_rng(5).exponential(2.0, 150_000)
    wait = simulated_waits(0.75 * 4 / 2.0, services, 4)
    assert wait == pytest.approx(queue_wait(0.75 * 4 / 2.0, 2.0, 4), rel=0.06)


def test_arrivals_wait_half_an_iteration_for_its_end() -> None:
    """Plenty of slots, Poisson arrivals in iterations: no request queues, and each waits for the boundary."""
    rng = np.random.default_rng(9)
    arrivals = rng.exponential(0.5, 600).cumsum()
    asked = [request(i, output=int(rng.geometric(1 / 20)), arrival=float(a)) for i, a in enumerate(arrivals)]
    trace = record(scheduled(asked, 128), asked, 128, arrival_unit="seconds")
    waits = latencies(trace).queue
    busy = waits[arrivals > 5]  # the engine runs from then on
    assert busy.mean() == pytest.approx(queue_wait(2.0, 20.0, 128, iteration=1.0), rel=0.06)


def test_little() -> None:
    assert in_system(2.0, 3.5) == 7.0


# ---------------------------------------------------------------- hardware


def test_kv_tokens_of_a_busy_slot_are_those_of_a_run() -> None:
    """Average the contexts of a full run over its busy slot-iterations: exactly the formula."""
    rng = np.random.default_rng(1)
    asked = [request(i, int(rng.integers(1, 60)), int(rng.geometric(1 / 12))) for i in range(80)]
    contexts, busy = 0, 0
    for event in scheduled(asked, 5):
        contexts += int(event.context.sum())
        busy += int((event.request >= 0).sum())
    formula = kv_tokens_per_busy_slot([len(r.prompt) for r in asked], [r.output_length for r in asked])
    assert contexts / busy == pytest.approx(formula, rel=1e-12)


def test_exponential_outputs_hold_about_a_whole_mean_length() -> None:
    outputs = np.ceil(np.random.default_rng(2).exponential(500, 100_000))
    assert kv_tokens_per_busy_slot(np.ones(100_000), outputs) == pytest.approx(500, rel=0.02)
    assert kv_tokens_per_busy_slot([1], [500]) == pytest.approx(1 + 499 / 2)  # fixed: half of one


def test_kv_bytes_of_opt_13b() -> None:
    assert kv_bytes_per_token(layers=40, kv_heads=40, head_size=128) == 819_200


def test_the_decode_floor_turns_from_memory_to_arithmetic() -> None:
    """Llama-3.1-8B in bf16 on an H100 as measured (3.02 TB/s, 798 TFLOP/s): they meet at 264 rows."""
    h100 = {"weight_bytes": 16e9, "kv_bytes": 0.0, "parameters": 8e9, "bandwidth": 3.02e12, "flops": 798e12}
    assert decode_floor(1, **h100) == pytest.approx(16e9 / 3.02e12)
    assert decode_floor(264, **h100) == decode_floor(1, **h100)
    assert decode_floor(266, **h100) == pytest.approx(2 * 8e9 * 266 / 798e12)
    assert decode_floor(8, **{**h100, "kv_bytes": 16e9}) == pytest.approx(2 * decode_floor(8, **h100))


# ---------------------------------------------------------------- bad input

NAN = float("nan")


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda: speedup_exponential(0), "slots must be a whole number of at least 1"),
        (lambda: speedup_fixed(-1), "slots must be a whole number"),
        (lambda: speedup_fixed(2.5), "slots must be a whole number"),
        (lambda: harmonic(True), "n must be a whole number"),
        (lambda: harmonic(10**12), "n must be a whole number"),
        (lambda: speedup_uniform(2, 5, 5), "high must be a finite number above 5"),
        (lambda: speedup_uniform(2, -1, 5), "low must be a finite number of at least 0"),
        (lambda: speedup_clipped_exponential(2, 0, 5), "mean must be a finite number above 0"),
        (lambda: speedup_truncated_exponential(2, 5, NAN), "cap must be a finite number above 0"),
        (lambda: speedup_empirical(2, []), "lengths must be a list of at least one"),
        (lambda: speedup_empirical(2, [3, 0]), "above 0"),
        (lambda: speedup_empirical(2, "abc"), "lengths must be a list"),
        (lambda: speedup_discrete(2, [0.5, 0.6]), "sum to 1"),
        (lambda: speedup_discrete(2, [1.5, -0.5]), "must not be negative"),
        (lambda: speedup_bound(2, -1), "cv must be"),
        (lambda: static_iterations([2, 1.5], 2), "whole numbers of tokens"),
        (lambda: static_iterations([2, 5], 2, run_to=4), "run_to must be a whole number of at least 5"),
        (lambda: continuous_iterations([1], 0), "slots must be"),
        (lambda: makespan_bounds([[1]], 1), "lengths must be a list"),
        (lambda: speedup_shrinking(2, 2, 0, 0), "must cost something"),
        (lambda: speedup_shrinking(0.5, 2, 1, 0), "speedup must be a finite number of at least 1"),
        (lambda: speedup_with_prefill(2, 2, 1, 1, 0), "cost nothing"),
        (lambda: speedup_with_prefill(2, 2, 10, 0, 0), "step must be"),
        (lambda: pollaczek_khinchine(1, 1, 1), "the load is 1"),
        (lambda: pollaczek_khinchine(0.5, 1, 0.5), "impossible with a mean of 1"),
        (lambda: erlang_c(2, 2.0), "2 slots cannot keep up"),
        (lambda: erlang_c(2, 0.0), "offered must be"),
        (lambda: queue_wait(1, 1, 4, -1), "iteration must be"),
        (lambda: in_system(math.inf, 1), "rate must be"),
        (lambda: kv_tokens_per_busy_slot([1], [1, 2]), "1 prompts and 2 outputs"),
        (lambda: kv_bytes_per_token(0, 1, 1), "layers must be"),
        (
            lambda: decode_floor(1, weight_bytes=1, kv_bytes=-1, parameters=1, bandwidth=1, flops=1),
            "kv_bytes must be a finite number of at least 0",
        ),
    ],
    ids=range(32),
)
def test_nonsense_is_answered_with_a_sentence(ask: Callable[[], float], complaint: str) -> None:
    with pytest.raises(MeasureError, match=complaint):
        ask()


def test_a_measured_ratio_agrees_with_the_predicted_one() -> None:
    """The whole chain: a long run on 8 slots of exponential lengths gains H_8, less its ragged end."""
    outputs = [max(1, round(x)) for x in np.random.default_rng(4).exponential(20, 1200)]
    found = compare(scheduled_trace(outputs, 8, "static"), scheduled_trace(outputs, 8))
    assert found.iteration_ratio == pytest.approx(speedup_empirical(8, outputs), rel=0.03)
    assert found.iteration_ratio == pytest.approx(harmonic(8), rel=0.08)
