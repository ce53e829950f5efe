"""Requests take harmless values as plain ones; anything else is one sentence. What is accepted can be served."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.eager.drawing import draw
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.errors import CapacityError, CbvizError, WorkloadError
from cbviz.policies import Continuous
from cbviz.workload import (
    AllAtOnce,
    Empirical,
    ExponentialClipped,
    ExponentialTruncated,
    Fixed,
    GammaBursty,
    LogNormal,
    Poisson,
    Prompt,
    Request,
    Sampling,
    Uniform,
    Workload,
    prompt_workload,
    question_workload,
    synthetic,
    task_workload,
    yardstick,
)
from tests.shapes import make


class Hostile:
    """Raises whatever is asked of it."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise ZeroDivisionError("hostile")

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __len__ = __iter__ = __getitem__ = _refuse
    __index__ = __int__ = __float__ = __repr__ = __str__ = __getattr__ = __hash__ = __call__ = _refuse


class HostileInt(int):
    __index__ = __int__ = __float__ = __repr__ = __eq__ = __lt__ = __le__ = Hostile._refuse
    __hash__ = int.__hash__


class HostileText(str):
    __repr__ = __str__ = encode = strip = Hostile._refuse
    __slots__ = ()


class HostileList(list[int]):
    __iter__ = __len__ = __repr__ = Hostile._refuse


class Liar:
    """An object that pretends to be a number."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError("hostile")


NONSENSE: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: np.True_, lambda: torch.tensor(True), lambda: "7", lambda: "", lambda: "x" * 99,
    lambda: b"\1\2", lambda: bytearray(b"\1"), lambda: memoryview(b"\1"), lambda: -1, lambda: 0, lambda: 2**31,
    lambda: 2**63, lambda: 2**70, lambda: 10**400, lambda: 10**5000, lambda: -(10**5000), lambda: 0.5, lambda: 1e300,
    lambda: 5e-324, lambda: math.nan, lambda: math.inf, lambda: -math.inf, lambda: 1j, lambda: np.complex64(1j),
    lambda: torch.tensor(1j), lambda: Decimal("NaN"), lambda: Decimal("sNaN"), lambda: Fraction(10**400), lambda: [],
    lambda: (), lambda: {}, lambda: {1, 2}, lambda: {"id": 1}, lambda: (x for x in (1, 2)), lambda: [[1, 2]],
    lambda: (1, None), lambda: (1, True), lambda: (1, 2.0), lambda: (1, "2"), lambda: (1, -1), lambda: (1, 2**31),
    lambda: range(10**15), lambda: deque([1, "2"]), lambda: np.zeros((2, 2), int), lambda: np.array(3.5),
    lambda: np.array([0.5]), lambda: np.array(["a"]), lambda: np.array([None]), lambda: np.array([1 + 1j]),
    lambda: np.datetime64("2026-01-01"), lambda: torch.zeros(2, 2, dtype=torch.long), lambda: torch.zeros(2),
    lambda: torch.zeros(2, dtype=torch.bool), lambda: torch.zeros(1, device="meta", dtype=torch.long), object,
    lambda: int, lambda: Request, lambda: len, Hostile,
    lambda: HostileInt(5), lambda: [HostileInt(5)], lambda: HostileText("x"),
    lambda: HostileList([1]), lambda: "a\ud800", Liar, lambda: Sampling(), lambda: NotImplemented, lambda: ...,
]  # fmt: skip

anything = st.one_of(
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.integers(-2, 2**33), st.floats(), st.none()), max_size=4),
)
# Functions that make the value: hypothesis itself cannot look at the hostile ones.
nonsense = st.one_of(st.sampled_from(NONSENSE), anything.map(lambda value: lambda: value))


def refused_or(make: Callable[[], Any]) -> Any:
    """What `make` returns; None where it is refused, in one sentence."""
    try:
        return make()
    except CbvizError as error:
        said = str(error)
        assert said.endswith("."), said
        assert "\n" not in said
        assert len(said) < 300, said
        return None


def request(**more: Any) -> Request:
    return Request(**{"id": 0, "prompt": (5, 6), "max_new_tokens": 3, **more})


PLAIN = {"id": int, "max_new_tokens": int, "arrival": float, "prompt": tuple, "stop_tokens": tuple, "text": str}


@given(st.sampled_from([field.name for field in fields(Request) if field.init]), nonsense)
@settings(max_examples=400, deadline=None)
def test_no_value_of_a_request_raises_anything_else(name: str, value: Callable[[], Any]) -> None:
    made = refused_or(lambda: request(**{name: value()}))
    if made is None:
        return
    for field, kind in PLAIN.items():
        assert type(getattr(made, field)) is kind
    assert all(type(token) is int and 0 <= token < 2**31 for token in (*made.prompt, *made.stop_tokens))
    assert made == request(**{name: getattr(made, name)})
    hash(made)


@given(st.sampled_from([field.name for field in fields(Sampling) if field.init]), nonsense)
@settings(max_examples=300, deadline=None)
def test_no_value_of_sampling_raises_anything_else(name: str, value: Callable[[], Any]) -> None:
    made = refused_or(lambda: Sampling(**{name: value()}))
    if made is not None:
        assert (type(made.temperature), type(made.top_p)) == (float, float)
        assert (type(made.top_k), type(made.seed)) == (int, int)


@given(st.sampled_from(["name", "requests", "seed", "arrival_unit"]), nonsense)
@settings(max_examples=200, deadline=None)
def test_no_value_of_a_workload_raises_anything_else(name: str, value: Callable[[], Any]) -> None:
    refused_or(lambda: Workload(**{"name": "w", "requests": [request()], name: value()}))


def encode(text: str) -> list[int]:
    return [ord(letter) % 90 for letter in text[:9]]


CONSTRUCTORS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (Fixed, {"length": 3}),
    (Uniform, {"low": 1, "high": 3}),
    (ExponentialClipped, {"mean": 3, "cap": 9}),
    (ExponentialTruncated, {"mean": 3, "cap": 9}),
    (LogNormal, {"mean": 3, "cv": 1, "cap": 9}),
    (Empirical, {"lengths": [1, 2]}),
    (Poisson, {"rate": 3, "stretch": False}),
    (GammaBursty, {"rate": 3, "burstiness": 1, "stretch": False}),
    (Prompt, {"text": "a", "max_new_tokens": 3, "arrival": 0}),
    (Fixed(3).draw, {"rng": None, "n": 2}),
    (AllAtOnce().times, {"rng": None, "n": 2}),
    (
        prompt_workload,
        {"encode": encode, "prompts": ["a"], "seed": 0, "max_new_tokens": 3, "context_limit": 64, "name": "x"},
    ),
    (question_workload, {"encode": encode, "requests": 3, "seed": 0, "max_new_tokens": 3}),
    (task_workload, {"encode": encode, "requests": 3, "seed": 0, "mean": 40.0}),
    (yardstick, {"requests": 2, "seed": 0}),
    (
        synthetic,
        {
            "requests": 2,
            "lengths": 3,
            "arrivals": AllAtOnce(),
            "prompt_tokens": 3,
            "vocabulary": 97,
            "seed": 0,
            "forced": True,
            "arrival_unit": "seconds",
        },
    ),
]


@pytest.mark.parametrize(("make", "usual"), CONSTRUCTORS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_no_value_of_a_law_or_a_drawn_workload_raises_anything_else(make: Any, usual: dict[str, Any]) -> None:
    for name in usual:
        for value in NONSENSE:
            if name != "encode" or not callable(value()):  # what a function of the caller raises is the caller's
                refused_or(lambda n=name, v=value: make(**{**usual, n: v()}))  # type: ignore[misc]


def test_encoders_that_return_no_token_ids_are_named() -> None:
    for wrong in (None, "abc", [1.5], [-1], Hostile()):
        for drawn in (question_workload, task_workload):
            with pytest.raises(WorkloadError, match="what encode returns must be"):
                drawn(lambda text, ids=wrong: ids, 2)  # type: ignore[misc, arg-type, operator]
        with pytest.raises(WorkloadError, match="what encode returns must be"):
            prompt_workload(lambda text, ids=wrong: ids, ["a"])  # type: ignore[misc]


# ---------------------------------------------------------------------- what is accepted


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("id", np.int64(7), 7),
        ("id", torch.tensor(7), 7),
        ("prompt", np.array([5, 6], np.uint8), (5, 6)),
        ("prompt", torch.tensor([5, 6]), (5, 6)),
        ("prompt", tuple(np.array([5, 6])), (5, 6)),
        ("prompt", [torch.tensor(5), np.int32(6), 7], (5, 6, 7)),
        ("prompt", range(3, 6), (3, 4, 5)),
        ("prompt", deque([3, 4]), (3, 4)),
        ("max_new_tokens", np.int8(4), 4),
        ("arrival", np.float32(0.5), 0.5),
        ("arrival", torch.tensor(0.5), 0.5),
        ("arrival", 3, 3.0),
        ("arrival", Fraction(1, 2), 0.5),
        ("output_length", np.int64(2), 2),
        ("stop_tokens", np.array([5]), (5,)),
        ("stop_tokens", [], ()),
    ],
)
def test_harmless_values_are_kept_as_plain_ones(name: str, value: object, kept: object) -> None:
    got = getattr(request(**{name: value}), name)
    assert got == kept
    assert type(got) is type(kept)


def test_the_sentence_names_request_field_value_and_what_is_allowed() -> None:
    with pytest.raises(WorkloadError, match=r"^request 0: prompt tokens must be token ids in a list.*, not 'hello'\.$"):
        request(prompt="hello")
    with pytest.raises(WorkloadError, match=r"^request 0: stop tokens must be token ids .*, not 7\.$"):
        request(stop_tokens=7)
    with pytest.raises(WorkloadError, match=r"^a request's id must be below 2\*\*31, not 2147483648\.$"):
        request(id=2**31)
    with pytest.raises(WorkloadError, match=r"^request 0: text holds half of a surrogate pair"):
        request(text="a\ud800")
    with pytest.raises(WorkloadError, match=r"^request 0: arrival must be at most 1,000,000,000"):
        request(arrival=1e10)
    with pytest.raises(WorkloadError, match=r"together be below 2\*\*31 positions"):
        request(max_new_tokens=2**31 - 2)


# ---------------------------------------------------------------------- what is accepted can be served


def test_what_is_no_request_is_not_submitted() -> None:
    pool = BlockPool(16, 4)
    engine = Engine(NullExecutor(64, 1.0), Continuous(), slots=2, pool=pool)
    for wrong in (5, None, "x", {"id": 1}, [request()], (request() for _ in "1"), Hostile(), Liar(), Request):
        with pytest.raises(WorkloadError, match="requests must be Request objects"):
            engine.submit(request(id=1), wrong)  # type: ignore[arg-type]
    list(engine.run([request(id=1)]))  # nothing of the refused call was kept
    assert len(engine.output(1)) == 3


def test_what_is_no_collection_is_not_run() -> None:
    engine = Engine(NullExecutor(64, 1.0), Continuous(), slots=2, pool=BlockPool(16, 4))
    for wrong in (5, None, request()):
        with pytest.raises(WorkloadError, match="requests must be Request objects"):
            list(engine.run(wrong))  # type: ignore[arg-type]


def test_a_pool_whose_positions_no_int32_holds_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"17,179,869,184 positions .* fewer than 2\*\*31"):
        Engine(NullExecutor(2**40, 1.0), Continuous(), slots=2, pool=BlockPool(4, 2**32))


def test_a_promise_of_a_long_output_takes_no_memory() -> None:
    """A table of that many columns would be 256 GB."""
    pool = BlockPool(64, 2**24)
    engine = Engine(NullExecutor(2**31 - 1, 1.0), Continuous(), slots=2, pool=pool)
    asked = [Request(i, (5, 6), 2**30 - 2, stop_tokens=(1,)) for i in range(2)]
    engine.submit(*asked)
    for _ in range(5):
        engine.step()
    assert engine.outputs.tokens.nbytes < 10**6
    assert len(engine.output(0)) == 5


def test_outputs_grow_as_long_as_they_get() -> None:
    engine = Engine(NullExecutor(4096, 1.0), Continuous(), slots=3, pool=BlockPool(1000, 16))
    work = [Request(i, (5, 6), n, output_length=n) for i, n in enumerate((1500, 3, 700, 1024, 512, 513))]
    list(engine.run(work))
    assert [len(engine.output(r.id)) for r in work] == [1500, 3, 700, 1024, 512, 513]


EXTREME = [
    {},
    {"sampling": Sampling(5e-324)},
    {"sampling": Sampling(1e-45)},
    {"sampling": Sampling(1e-38)},
    {"sampling": Sampling(1e-6)},
    {"sampling": Sampling(1e38)},
    {"sampling": Sampling(1e300, top_p=5e-324)},
    {"sampling": Sampling(1.7e308)},
    {"sampling": Sampling(1.0, top_k=2**70)},
    {"sampling": Sampling(1.0, top_p=1 - 2**-53, seed=2**63 - 1)},
    {"stop_tokens": (2**31 - 1, 0)},
    {"id": 2**31 - 1},
]
"""Accepted, each of them."""


@pytest.mark.parametrize("graphs", [False, True])
def test_no_accepted_request_starves_another(graphs: bool) -> None:
    model = make("llama")

    def serve(*work: Request) -> dict[int, list[int]]:
        pool = BlockPool(64, 4)
        executor = (
            GraphExecutor(model, slots=4, pool=pool, lag=0, compiled=False)
            if graphs
            else ModelExecutor(model, slots=4, pool=pool)
        )
        engine = Engine(executor, Continuous(), slots=4, pool=pool)
        for _ in engine.run(work):
            pass
        return {r.id: engine.output(r.id) for r in work}

    innocent = Request(1000, (7, 8, 9), 8, output_length=8)
    alone = serve(innocent)[1000]
    bad = [request(**{"id": i, "max_new_tokens": 6, "output_length": 6, **more}) for i, more in enumerate(EXTREME)]
    got = serve(innocent, *bad)
    assert got[1000] == alone
    assert all(len(got[r.id]) == 6 and all(0 <= token < 97 for token in got[r.id]) for r in bad)
    assert all(got[i] == got[0] for i in range(1, 5)), "tiny temperatures are greedy"
    # So hot that all tokens are as likely as each other: the noise alone decides, and differs from place to place.
    assert len(set(got[5])) > 2
    assert got[5] == got[7]


@given(st.floats(min_value=0, max_value=float(torch.finfo(torch.float32).max), width=32), st.integers(0, 2**62))
@example(float(np.float32(1e-45)), 0)
@example(float(np.float32(1.2e-38)), 1)
@example(3.4e38, 2)
@settings(max_examples=60, deadline=None)
def test_no_temperature_gives_anything_but_a_token(temperature: float, seed: int) -> None:
    logits = torch.tensor([[3.0, -7.5, 3.0e4, 2.9e4, -math.inf, 3.0e4]])
    token = int(
        draw(
            logits,
            torch.tensor([temperature]),
            torch.tensor([0]),
            torch.tensor([1.0]),
            torch.tensor([seed]),
            torch.tensor([0]),
        )
    )
    assert token != 4, "what is impossible stays so"
    if temperature < 100:
        assert token == 2 if temperature < 0.9e-5 else token in (2, 5)
