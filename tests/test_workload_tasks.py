"""The tasks: right answers, a split that holds, and a workload with the spread of an exponential law."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbviz.errors import WorkloadError
from cbviz.workload.request import Workload
from cbviz.workload.tasks import (
    ANSWER_ROOM,
    HELD_OUT_SHARE,
    KINDS,
    LEARNED_WHOLE,
    Task,
    alphabet,
    capital,
    catalogue,
    count_by,
    count_down,
    count_from,
    count_to,
    days,
    letters,
    months,
    plus,
    repeat,
    reverse,
    shout,
    sort_letters,
    spell,
    task_workload,
)


def encode(text: str) -> list[int]:
    return list(text.encode())


def output_lengths(workload: Workload) -> list[int]:
    return [len(request.answer or "") + 1 for request in workload]


@pytest.mark.parametrize(
    ("task", "prompt", "answer"),
    [
        (capital("California"), "The capital of California?", "Sacramento"),
        (capital("New York"), "The capital of New York?", "Albany"),
        (capital("Georgia"), "The capital of Georgia?", "Atlanta"),
        (capital("France"), "The capital of France?", "Paris"),
        (spell("Sacramento"), "Spell Sacramento", "S-a-c-r-a-m-e-n-t-o"),
        (reverse("stop"), "Reverse stop", "pots"),
        (sort_letters("bread"), "Sort bread", "abder"),
        (shout("banana"), "Shout banana", "BANANA"),
        (letters("Sacramento"), "How many letters in Sacramento?", "10"),
        (repeat("ab", 3), "Repeat ab 3 times", "ab ab ab"),
        (repeat("ab", 0), "Repeat ab 0 times", ""),
        (count_to(5), "Count to 5", "1 2 3 4 5"),
        (count_from(7, 11), "Count from 7 to 11", "7 8 9 10 11"),
        (count_down(11, 7), "Count down from 11 to 7", "11 10 9 8 7"),
        (count_by(5, 20), "Count by 5 to 20", "5 10 15 20"),
        (alphabet("c", "f"), "Alphabet from c to f", "c d e f"),
        (months("March", "May"), "Months from March to May", "March April May"),
        (days("Friday", "Sunday"), "Days from Friday to Sunday", "Friday Saturday Sunday"),
        (plus(58, 67), "58 plus 67?", "125"),
    ],
)
def test_every_kind_asks_and_answers_as_people_would(task: Task, prompt: str, answer: str) -> None:
    assert (task.prompt, task.answer) == (prompt, answer)
    assert task.kind in KINDS


def test_sacramento_takes_eleven_tokens() -> None:
    assert capital("California").output_length == 11


def test_the_catalogue_has_every_kind_and_each_prompt_once() -> None:
    tasks = catalogue()
    assert {task.kind for task in tasks} == set(KINDS)
    assert len({task.prompt for task in tasks}) == len(tasks)


def test_answers_run_from_end_alone_to_almost_three_hundred_tokens() -> None:
    lengths = {task.output_length for task in catalogue()}
    assert min(lengths) == 1
    assert 250 < max(lengths) <= ANSWER_ROOM


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 2**32))
def test_a_drawn_task_is_of_its_kind_ascii_and_fits(kind: str, seed: int) -> None:
    task = KINDS[kind](random.Random(seed))
    assert task == KINDS[kind](random.Random(seed))
    assert task.kind == kind
    assert (task.prompt + task.answer).isascii()
    assert (task.prompt + task.answer).replace(" ", "x").isprintable()
    assert task.prompt.strip() == task.prompt != ""
    assert task.output_length <= ANSWER_ROOM


def test_one_prompt_in_ten_is_held_out_and_no_fact() -> None:
    tasks = catalogue()
    assert not any(task.held_out for task in tasks if task.kind in LEARNED_WHOLE)
    rest = [task for task in tasks if task.kind not in LEARNED_WHOLE]
    assert sum(task.held_out for task in rest) / len(rest) == pytest.approx(1 / HELD_OUT_SHARE, abs=0.01)


def test_the_split_is_the_one_the_weights_were_trained_with() -> None:
    never_trained = [last for last in range(1, 101) if count_to(last).held_out]
    assert never_trained == [11, 18, 19, 25, 26, 39, 70, 73, 85, 99, 100]


@pytest.mark.parametrize("seed", range(20))
def test_output_lengths_spread_like_an_exponential_law(seed: int) -> None:
    lengths = output_lengths(task_workload(encode, seed=seed))
    assert len(lengths) == 64
    assert statistics.mean(lengths) == pytest.approx(40, rel=0.1)
    assert statistics.pstdev(lengths) / statistics.mean(lengths) >= 0.9
    # A median far below the mean tells an exponential law from an even one of the same spread: ln 2 of the mean.
    assert statistics.median(lengths) / statistics.mean(lengths) == pytest.approx(math.log(2), abs=0.12)


def static_iterations(lengths: list[int], slots: int) -> int:
    return sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots))


def continuous_iterations(lengths: list[int], slots: int) -> int:
    free_at = [0] * slots
    for length in lengths:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def test_the_two_counts_of_iterations_agree_with_a_worked_example() -> None:
    assert static_iterations([3, 6, 2, 3, 3, 2, 2], 4) == 9
    assert continuous_iterations([3, 6, 2, 3, 3, 2, 2], 4) == 6


def test_refilling_eight_slots_is_worth_at_least_1_7_on_the_default_workload() -> None:
    lengths = output_lengths(task_workload(encode))
    assert static_iterations(lengths, 8) / continuous_iterations(lengths, 8) >= 1.7


def test_the_workload_mixes_the_kinds_and_asks_nothing_twice() -> None:
    workload = task_workload(encode)
    by_prompt = {task.prompt: task for task in catalogue()}
    assert len({request.text for request in workload}) == 64
    assert {by_prompt[request.text].kind for request in workload} == set(KINDS)


def test_requests_carry_prompt_answer_and_an_unforced_limit() -> None:
    by_prompt = {task.prompt: task for task in catalogue()}
    for i, request in enumerate(task_workload(encode, requests=30, seed=4)):
        assert request.id == i
        assert request.prompt == tuple(encode(request.text))
        assert request.answer == by_prompt[request.text].answer
        assert request.output_length is None
        assert request.max_new_tokens == ANSWER_ROOM
        assert request.arrival == 0


def test_the_seed_decides_everything() -> None:
    assert task_workload(encode, seed=3) == task_workload(encode, seed=3)
    assert task_workload(encode, seed=3).requests != task_workload(encode, seed=4).requests


@pytest.mark.parametrize("requests", [1, 2, 700])
def test_any_number_of_requests(requests: int) -> None:
    workload = task_workload(encode, requests=requests)
    assert len(workload) == requests
    assert len({request.text for request in workload}) == requests


def test_prompts_repeat_only_when_the_tasks_of_a_length_are_used_up() -> None:
    workload = task_workload(encode, requests=400, mean=2)
    assert len(workload) == 400
    assert statistics.mean(output_lengths(workload)) < 3.5


@pytest.mark.parametrize(
    "bad",
    [
        {"requests": 0},
        {"requests": -3},
        {"requests": 2.5},
        {"requests": True},
        {"seed": -1},
        {"seed": "0"},
        {"mean": 0},
        {"mean": 1.9},
        {"mean": 101},
        {"mean": math.nan},
        {"mean": math.inf},
        {"mean": "40"},
    ],
)
def test_nonsense_gets_one_clear_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(WorkloadError, match=rf"^{next(iter(bad))} must be .*not .*\.$"):
        task_workload(encode, **bad)


def test_an_encode_that_is_none_or_gives_nothing_is_refused() -> None:
    with pytest.raises(WorkloadError, match="encode must be a function"):
        task_workload("tokenizer")  # type: ignore[arg-type]
    with pytest.raises(WorkloadError, match="empty prompt"):
        task_workload(lambda text: [])
