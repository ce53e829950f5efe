"""The bank of quiz questions: both languages, a notebook for each, and every number computed again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import quiz
from chinese import fullwidth

import cbviz
from cbviz.core.block_pool import BlockPool
from cbviz.measure import kv_bytes_per_token, theory
from cbviz.measure.price import dollars_per_million_tokens
from cbviz.measure.queueing import in_system
from cbviz.policies import TGI, VTC, Orca, Sarathi, ShortestFirst, VllmV1

BANK = quiz.bank()
LLAMA = int(kv_bytes_per_token(32, 8, 128))


def served(
    policy: str | cbviz.Policy,
    lengths: Sequence[int],
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    arrivals: Sequence[int] | None = None,
    most: int | None = None,
    **options: int,
) -> cbviz.Trace:
    """A schedule of requests with these answers; all there at once with short prompts, unless given otherwise."""
    requests = tuple(
        cbviz.Request(
            i,
            tuple(prompts[i]) if prompts else (7,) * 8,
            max_new_tokens=most or n,
            output_length=n,
            arrival=arrivals[i] if arrivals else 0,
        )
        for i, n in enumerate(lengths)
    )
    return cbviz.schedule(policy, cbviz.Workload("quiz", requests, arrival_unit="iterations"), **options)


def iterations(policy: str, lengths: Sequence[int], slots: int) -> int:
    return len(served(policy, lengths, slots=slots).iterations)


def answered(limit: int) -> int:
    asked = ["What is the capital of California?"]
    race = cbviz.race("tiny", ["continuous"], slots=1, prompts=asked, max_new_tokens=limit, live=False, repeats=0)
    return len(race.traces[0].requests.tokens[0])


def stall() -> int:
    """Iterations in a row without a token of the first writer, when five prompts arrive one after the other."""
    prompts = [[7] * 8] * 6 + [[7] * 300] * 5
    trace = served("vllm_v0", [30] * 6 + [6] * 5, prompts=prompts, arrivals=[0] * 6 + [8, 9, 10, 11, 12], slots=11)
    return int(np.diff(trace.requests.token_iterations[0]).max()) - 1


def together() -> int:
    """How many newcomers TGI admits at once beside five who run."""
    trace = served(
        TGI(1.2),
        [60] * 17,
        prompts=[[7] * 8] * 5 + [[7] * 40] * 12,
        arrivals=[0] * 5 + [6 + i for i in range(12)],
        slots=20,
    )
    return [int(n) for n in trace.iterations.prefill_slots if n][1]


def passes(policy: cbviz.Policy, decoding: int, prompt: int) -> int:
    """Passes that read a prompt while others decode."""
    trace = served(
        policy,
        [60] * decoding + [6],
        prompts=[[7] * 8] * decoding + [[7] * prompt],
        arrivals=[0] * decoding + [20],
        slots=decoding + 1,
        kv_blocks=4096,
        context_limit=4096,
    )
    found = trace.requests
    return int(found.token_iterations[decoding][0] - found.admitted[decoding]) + 1


def at_once() -> int:
    trace = served(Orca("maximum"), [20] * 8, slots=16, kv_blocks=48, context_limit=384)
    return int((16 - trace.iterations.idle_slots).max())


def found_in_cache() -> int:
    prompts = [[5] * 40 + [6] * 20, [5] * 40 + [9] * 20]
    trace = served("vllm_v1", [4, 4], prompts=prompts, arrivals=[0, 8], slots=2, kv_blocks=64, prefix_cache=True)
    return int(trace.requests.cached_tokens[1])


def blocks() -> int:
    pool = BlockPool(blocks=64, block_size=16)
    pool.grow(0, 100 + 30 - 1)
    return len(pool.owned(0))


def mean_wait(policy: str | cbviz.Policy) -> float:
    trace = served(policy, [6, 1, 3], slots=1)
    return float(np.mean(trace.requests.admitted - trace.requests.arrived))


COMPUTED: dict[str, Callable[[], float]] = {
    "00.1": lambda: iterations("static", [3, 8, 5, 2, 6, 4], 3),
    "00.2": lambda: iterations("continuous", [3, 8, 5, 2, 6, 4], 3),
    "00.3": lambda: int(served("static", [3, 8, 5, 2, 6, 4], slots=3).iterations.held_slots.sum()),
    "01.1": lambda: answered(40),
    "01.2": lambda: len(cbviz.models.load("tiny").encode("What is the capital of California?")) + answered(40) - 1,
    "01.3": lambda: sum(35 + i for i in range(answered(40))),
    "01.5": lambda: answered(10),
    "02.2": lambda: round(1000 * 16e9 / 3350e9, 1),
    "03.1": lambda: LLAMA,
    "03.2": lambda: kv_bytes_per_token(40, 40, 128) / 1024,
    "03.3": lambda: (80e9 - 16e9) // (LLAMA * 2048),
    "04.1": lambda: round(100 * sum([3, 8, 5, 2, 6, 4]) / (3 * iterations("static", [3, 8, 5, 2, 6, 4], 3))),
    "04.2": lambda: round(theory.speedup_exponential(8), 2),
    "04.3": lambda: theory.speedup_fixed(8),
    "04.4": lambda: round(theory.speedup_uniform(4), 1),
    "05.1": lambda: iterations("static", [10, 2, 3, 4, 5, 2], 4) - iterations("continuous", [10, 2, 3, 4, 5, 2], 4),
    "05.2": lambda: iterations("continuous", [6] * 8, 4),
    "05.3": lambda: iterations("static", [2, 9, 4, 7], 8) / iterations("continuous", [2, 9, 4, 7], 8),
    "06.1": lambda: passes(Sarathi(chunk_size=64), 6, 300),
    "06.2": stall,
    "06.3": together,
    "07.1": blocks,
    "07.2": lambda: 16 * blocks() - (100 + 30 - 1),
    "07.3": at_once,
    "08.1": found_in_cache,
    "10.1": lambda: in_system(12, 2.5),
    "10.2": lambda: round(dollars_per_million_tokens(1000, 3), 2),
    "11.1": lambda: round(mean_wait("continuous"), 2),
    "11.2": lambda: round(mean_wait(ShortestFirst()), 2),
    "12.1": lambda: 100 * VTC().input_weight + 50 * VTC().output_weight,
    "12.2": lambda: round(1000 * 1024 * LLAMA / 100e9, 2),
    "13.1": lambda: passes(VllmV1(max_num_batched_tokens=1024), 127, 2000),
    "13.2": lambda: 16384 // 8,
}
"""How the value of each question that has one is found."""


@pytest.mark.parametrize("id", COMPUTED)
def test_a_number_is_what_cbviz_computes(id: str) -> None:
    (question,) = [question for question in BANK if question.id == id]
    assert question.value == pytest.approx(COMPUTED[id]())


def test_every_number_is_computed() -> None:
    assert {question.id for question in BANK if question.value is not None} == set(COMPUTED)


def test_questions_have_both_languages_a_notebook_and_their_own_id() -> None:
    assert len(BANK) >= 40
    assert len({question.id for question in BANK}) == len(BANK)
    assert {question.notebook for question in BANK} == {f"{n:02}" for n in range(14)}
    for question in BANK:
        assert ("{value}" in question.answers["en"]) == (question.value is not None), question.id
        for texts in (question.questions, question.answers):
            assert ("{value}" in texts["en"]) == ("{value}" in texts["zh"]), question.id
            assert re.search(r"[\u4e00-\u9fff]", texts["zh"].replace("{value} 。", "文"))
            assert fullwidth(texts["zh"]) == texts["zh"], question.id


def test_a_sheet_has_the_questions_of_its_notebooks_and_answers_only_if_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert quiz.main(["04", "--language", "zh"]) == 0
    whole = capsys.readouterr().out
    assert whole.count("**04.") == sum(question.notebook == "04" for question in BANK)
    assert "**05." not in whole
    assert "2.72 倍" in whole
    assert quiz.main(["04", "--language", "zh", "--without-answers"]) == 0
    assert "2.72" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        quiz.main(["14"])
    assert "no question is answered by notebook 14" in capsys.readouterr().err


@pytest.mark.parametrize("language", sorted(quiz.PAGES))
def test_the_pages_of_the_docs_are_those_of_the_bank(language: str) -> None:
    committed = quiz.PAGES[language].read_text("utf-8")
    assert committed == quiz.page(BANK, language), "run python tools/quiz.py --write"
