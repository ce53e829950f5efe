"""The clock of notebook 02: a machine that is too busy is found out, and every number belongs to the card it names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import pytest
import torch

import cbviz
from cbviz import course
from cbviz.course.timed import Timed, recording
from cbviz.errors import CbvizError
from cbviz.measure.roofline_bound import Rates
from cbviz.models import LoadedModel
from cbviz.run import timings as clock
from cbviz.run.timings import Timings, card_name, timings
from cbviz.run.weight_reads import weight_bytes_read

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return cbviz.models.load("tiny", device="cpu")


class Machine:
    """A clock that only moves while a call runs: as long as `seconds(size, how often it was called)` says."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int, int], float], load: float = 0.0
    ) -> None:
        self.now, self.seconds, self.calls = 0.0, seconds, dict[int, int]()
        monkeypatch.setattr(clock, "perf_counter", lambda: self.now)
        monkeypatch.setattr("os.getloadavg", lambda: (load, load, load), raising=False)
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        monkeypatch.setattr("torch.get_num_threads", lambda: 1)

    def make(self, size: int) -> Callable[[], object]:
        def call() -> None:
            self.calls[size] = self.calls.get(size, 0) + 1
            self.now += self.seconds(size, self.calls[size])

        return call


def test_the_fastest_repeat_counts_and_a_second_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, lambda size, n: 0.01 * size * (1.1 if n % 2 else 1.0))
    found = timings(machine.make, [1, 8, 100], CPU)
    assert found.milliseconds == pytest.approx({1: 10.0, 8: 80.0, 100: 1000.0})
    assert machine.calls == {1: 16, 8: 13, 100: 4}, "fifteen repeats at most, three at least, and one to warm up"
    assert found.spread <= 1.1
    assert not found.busy


@pytest.mark.parametrize(
    ("seconds", "load", "rising"),
    [
        (lambda size, n: 0.01 * size * (1 if n % 5 == 2 else 2), 0.0, True),
        (lambda size, n: (0.02 if size == 1 else 0.01) * (1 if n % 5 == 2 else 1.2), 0.0, True),
        (lambda size, n: 0.02 if size == 1 else 0.01, 1.8, True),
        (lambda size, n: 0.01 * size, 4.0, True),
    ],
    ids=[
        "repeats differ",
        "more work is faster in a noise",
        "and beside others",
        "others keep the cores",
    ],
)
def test_a_busy_machine_is_found_out(
    seconds: Callable[[int, int], float], load: float, rising: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timings(Machine(monkeypatch, seconds, load).make, [1, 2], CPU, rising=rising).busy


def test_a_kernel_that_is_quicker_with_more_rows_is_no_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = timings(Machine(monkeypatch, lambda size, n: 0.02 if size == 2 else 0.015, 1.0).make, [1, 2, 4], CPU)
    assert found.backwards == pytest.approx(4 / 3)
    assert not found.busy


def test_two_ways_of_the_same_work_need_not_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, lambda size, n: 0.01 / size)
    assert not timings(machine.make, [1, 2], CPU, rising=False).busy


def test_a_card_has_a_name() -> None:
    assert card_name(CPU).endswith(("core", "cores"))


QUIET = Timings({1: 5.0, 8: 6.0}, 1.02, 1.0, 0.0)
BUSY = Timings({1: 5.0, 8: 6.0}, 1.8, 1.0, 2.5)


def measure(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel, found: Timings, sizes: tuple[int, ...] = (1, 8)
) -> Timed:
    module = importlib.import_module("cbviz.course.timed")
    monkeypatch.setattr(module, "timings", lambda *given, **named: found)
    monkeypatch.setattr(module, "measured_rates", lambda *given: Rates(1e9, 2e9))
    monkeypatch.setattr(module, "card_name", lambda device: "this one")
    return course.timed("decode", lambda size: lambda: None, sizes, model, rates=True)


def test_on_a_quiet_machine_all_numbers_are_its_own(monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel) -> None:
    here = measure(monkeypatch, tiny, QUIET)
    assert (here.milliseconds, here.rates, here.card) == ({1: 5.0, 8: 6.0}, Rates(1e9, 2e9), "this one")
    assert here.note == "Measured here just now, on this one; repeats differ by 2 %."


def test_on_a_busy_machine_all_numbers_are_the_recorded_card_s(
    monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel
) -> None:
    there = measure(monkeypatch, tiny, BUSY)
    kept = recording()
    assert there.recorded
    assert there.card == kept["card"]
    assert there.rates == Rates(kept["bandwidth"], kept["flops"])
    assert there.milliseconds == {size: kept["milliseconds"]["decode"][str(size)] for size in (1, 8)}
    assert there.note.startswith("This machine is too busy to measure (repeats differ by 80 %, 2.5 other processes")
    assert kept["card"] in there.note
    course.language("zh")
    assert measure(monkeypatch, tiny, BUSY).note.startswith("本机太忙，测不准")


def test_sizes_that_were_not_recorded_are_measured_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel
) -> None:
    here = measure(monkeypatch, tiny, BUSY, (1, 7))
    assert not here.recorded
    assert here.card == "this one"
    assert "read the times on this one with care" in here.note


def test_what_was_recorded_is_all_that_the_notebook_asks_and_is_steady() -> None:
    kept = recording()
    assert kept.keys() >= {"card", "date", "torch", "bandwidth", "flops"}
    assert {what: len(times) for what, times in kept["milliseconds"].items()} == {
        "decode": 7,
        "prefill": 10,
        "attention": 2,
    }
    for times in kept["milliseconds"].values():
        assert list(times.values()) == sorted(times.values())


@pytest.mark.parametrize(
    ("what", "sizes", "sentence"),
    [("sleep", [1], "must be one of decode, prefill, attention"), ("decode", [0.5], "a size"), ("decode", [], "sizes")],
)
def test_nonsense_is_refused(what: str, sizes: list[int], sentence: str, tiny: LoadedModel) -> None:
    with pytest.raises(CbvizError, match=sentence):
        course.timed(what, lambda size: lambda: None, sizes, tiny)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_pass_reads_every_weight_once_however_many_share_it(batch: int, tiny: LoadedModel) -> None:
    ids = torch.randint(3, tiny.vocabulary, (batch, 1))
    model = tiny.model
    row = model.get_input_embeddings().weight.shape[1] * tiny.dtype.itemsize
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    table = 0 if tied else model.get_input_embeddings().weight.numel() * tiny.dtype.itemsize
    once = tiny.weight_bytes - table + batch * row
    assert weight_bytes_read(tiny, lambda: model(ids)) == once
    assert weight_bytes_read(tiny, lambda: (model(ids), model(ids))) == 2 * once
    assert weight_bytes_read(tiny, lambda: None) == 0


def test_views_of_weights_read_nothing_and_parts_read_a_part(tiny: LoadedModel) -> None:
    matrix = next(m.weight for m in tiny.model.modules() if isinstance(m, torch.nn.Linear))
    assert weight_bytes_read(tiny, lambda: matrix.t().detach().view(matrix.t().shape)) == 0
    assert weight_bytes_read(tiny, lambda: matrix[:1] + 1) == matrix.shape[1] * matrix.element_size()
