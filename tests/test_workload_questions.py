import json
from heapq import heapify, heapreplace
from pathlib import Path

import pytest

from cbviz.errors import WorkloadError
from cbviz.models import load
from cbviz.workload.questions import LONG, SHORT, question_workload

LENGTHS: dict[str, int] = json.loads((Path(__file__).parent / "question_lengths.json").read_text(encoding="utf-8"))
"""Output tokens of SmolLM2-135M-Instruct's greedy answers, END included."""


def encode(text: str) -> list[int]:
    return [ord(c) for c in text]


def static_iterations(lengths: list[int], slots: int) -> int:
    return sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots))


def continuous_iterations(lengths: list[int], slots: int) -> int:
    free_at = [0] * slots
    heapify(free_at)
    for length in lengths:
        heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def test_there_are_enough_questions_and_none_twice() -> None:
    questions = [*SHORT, *LONG]
    assert len(questions) == len(set(questions)) == len(LENGTHS)
    assert len(questions) >= 64
    assert set(questions) == set(LENGTHS)
    assert all(question.strip() == question and question.isascii() for question in questions)


def test_short_answers_are_short_and_long_ones_long() -> None:
    assert max(LENGTHS[q] for q in SHORT) <= 40
    assert min(LENGTHS[q] for q in LONG) >= 58
    assert max(LENGTHS.values()) < 160


def test_a_drawn_workload() -> None:
    workload = question_workload(encode, requests=48, seed=3, max_new_tokens=99)
    texts = [r.text for r in workload]
    assert len(set(texts)) == 48
    assert sum(text in LONG for text in texts) == 8
    assert [r.id for r in workload] == list(range(48))
    assert all(r.prompt == tuple(map(ord, r.text)) for r in workload)
    assert all(r.max_new_tokens == 99 and r.output_length is None and r.arrival == 0 for r in workload)
    assert workload == question_workload(encode, requests=48, seed=3, max_new_tokens=99)
    assert texts != [r.text for r in question_workload(encode, requests=48, seed=4)]
    assert workload.seed == 3


@pytest.mark.parametrize(("requests", "long"), [(1, 0), (6, 1), (12, 2), (300, 50)])
def test_one_in_six_is_long_and_large_workloads_ask_again(requests: int, long: int) -> None:
    texts = [r.text for r in question_workload(encode, requests=requests)]
    assert len(texts) == requests
    assert sum(text in LONG for text in texts) == long
    counts = [texts.count(q) for q in LONG]
    assert max(counts) - min(counts) <= 1


def test_the_answers_vary_enough_for_refilled_slots_to_pay() -> None:
    """Ideal scheduling of the real answers on 8 slots: iterations of static batches ÷ of continuous batching."""
    for seed in range(50):
        lengths = [LENGTHS[r.text] for r in question_workload(encode, requests=48, seed=seed)]
        assert static_iterations(lengths, 8) / continuous_iterations(lengths, 8) >= 1.4, seed


@pytest.mark.parametrize("bad", [{"requests": 0}, {"requests": 2.5}, {"max_new_tokens": 0}, {"seed": -1}])
def test_numbers_that_make_no_sense(bad: dict[str, int]) -> None:
    with pytest.raises(WorkloadError, match="must be a whole number"):
        question_workload(encode, **bad)


@pytest.mark.download
def test_the_real_model_answers_as_recorded() -> None:
    import torch

    model = load("smollm2-135m", device="cpu", progress=False)
    for question, fact in (
        ("What is the capital of France?", "Paris"),
        ("What is the chemical symbol for iron?", "Fe"),
        ("Name three fruits.", "Bananas"),
        ("How many hours are there in a day?", "24"),
    ):
        prompt = model.encode(question)
        answer = model.model.generate(torch.tensor([prompt]), max_new_tokens=160, do_sample=False)[0, len(prompt) :]
        assert len(answer) == LENGTHS[question]
        assert fact in model.decode(answer.tolist())
