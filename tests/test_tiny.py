"""The built-in model: small, right about what it was never trained on, and stopping by its own END."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from cbviz.workload.capitals import COUNTRIES, STATES
from cbviz.workload.tasks import (
    ANSWER_ROOM,
    KINDS,
    LEARNED_WHOLE,
    Task,
    capital,
    count_to,
    repeat,
    spell,
    task_workload,
)

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "cbviz" / "models" / "tiny"


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, local_files_only=True).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(TINY, local_files_only=True)


@pytest.fixture(scope="module")
def trainer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_tiny", ROOT / "tools" / "train_tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def written(model: Any, tokenizer: Any, tasks: list[Task], batch: int = 64) -> dict[str, str]:
    """What greedy decoding writes for each prompt, END included; batches of answers about equally long, for speed."""
    answers: dict[str, str] = {}
    tasks = sorted(tasks, key=lambda task: task.output_length)
    for at in range(0, len(tasks), batch):
        prompts = [task.prompt for task in tasks[at : at + batch]]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=ANSWER_ROOM, do_sample=False)
        for prompt, row in zip(prompts, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            answers[prompt] = tokenizer.decode(row[:end])
    return answers


def wrong(answers: dict[str, str], tasks: Iterable[Task]) -> list[str]:
    return [task.prompt for task in tasks if answers[task.prompt] != task.answer + "<end>"]


def drawn(kind: str, held_out: bool, count: int) -> list[Task]:
    rng = random.Random(f"{kind}, asked by the tests")
    tasks: dict[str, Task] = {}
    for _ in range(100 * count):
        task = KINDS[kind](rng)
        if task.held_out == held_out:
            tasks[task.prompt] = task
        if len(tasks) == count:
            break
    return list(tasks.values())


def test_it_is_as_small_as_promised(model: Any) -> None:
    assert sum(p.numel() for p in model.parameters()) <= 2_000_000
    assert (TINY / "model.safetensors").stat().st_size <= 4 * 2**20


def test_it_is_a_plain_folder_stored_in_bf16() -> None:
    assert {file.name for file in TINY.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    stored = AutoModelForCausalLM.from_pretrained(TINY, local_files_only=True)
    assert stored.config.model_type == "llama"
    assert {p.dtype for p in stored.parameters()} == {torch.bfloat16}


def test_a_letter_is_a_token_and_a_newline_ends_the_prompt(tokenizer: Any) -> None:
    ids = tokenizer("Count to 3")["input_ids"]
    assert len(ids) == len("Count to 3") + 1
    assert tokenizer.decode(ids) == "Count to 3\n"
    turns = [{"role": "user", "content": "Count to 3"}]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.decode(tokenizer("Zürich", add_special_tokens=False)["input_ids"]) == "Z<unk>rich"


def test_every_answer_fits_behind_its_prompt(model: Any, tokenizer: Any) -> None:
    longest = max(len(request.prompt) + request.max_new_tokens for request in task_workload(tokenizer.encode, 500))
    assert longest <= model.config.max_position_embeddings


def test_held_out_prompts_are_answered_exactly(model: Any, tokenizer: Any) -> None:
    kinds = sorted(KINDS.keys() - LEARNED_WHOLE)
    tasks = [task for kind in kinds for task in drawn(kind, held_out=True, count=30)]
    assert len(tasks) > 270
    assert all(task.held_out for task in tasks)
    lengths = [task.output_length for task in tasks]
    assert min(lengths) == 1
    assert max(lengths) >= 100
    mistakes = wrong(written(model, tokenizer, tasks), tasks)
    assert len(mistakes) <= 0.02 * len(tasks), mistakes


def test_every_capital_is_known(model: Any, tokenizer: Any) -> None:
    tasks = [capital(place) for place in (*STATES, *COUNTRIES)]
    assert len(STATES) == 50
    assert wrong(written(model, tokenizer, tasks), tasks) == []


@pytest.mark.parametrize("kind", sorted(LEARNED_WHOLE - {"capital"}))
def test_what_is_learned_whole_is_known(model: Any, tokenizer: Any, kind: str) -> None:
    tasks = drawn(kind, held_out=False, count=28)
    assert len(tasks) == 28
    assert wrong(written(model, tokenizer, tasks), tasks) == []


def test_the_default_workload_is_answered_without_a_mistake(model: Any, tokenizer: Any) -> None:
    tasks = [Task("asked", request.text, request.answer or "") for request in task_workload(tokenizer.encode)]
    assert wrong(written(model, tokenizer, tasks), tasks) == []


@pytest.mark.parametrize(
    ("task", "tokens"),
    [(capital("California"), 11), (spell("Sacramento"), 20), (repeat("ab", 0), 1), (count_to(50), 141)],
)
def test_alone_it_stops_by_its_own_end(model: Any, tokenizer: Any, task: Task, tokens: int) -> None:
    prompt = tokenizer(task.prompt, return_tensors="pt")
    with torch.no_grad():
        output = model.generate(**prompt, max_new_tokens=ANSWER_ROOM, do_sample=False)[0]
    answer = output[prompt["input_ids"].shape[1] :].tolist()
    assert len(answer) == tokens
    assert answer[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer[:-1]) == task.answer


def test_training_never_draws_a_held_out_prompt(trainer: ModuleType, tokenizer: Any) -> None:
    rows = trainer.corpus_part((5, 60_000))
    assert rows.shape[1] == trainer.CONTEXT
    texts = [
        text for row in rows for text in tokenizer.decode(row.tolist()).replace("<pad>", "").split("<end>") if text
    ]
    prompts = [text.split("\n")[0] for text in texts]
    assert len(prompts) > 1000
    by_start = {"The": "capital", "What": "capital", "Months": "months", "Days": "days"}
    kinds = ["count by" if p.startswith("Count by") else by_start.get(p.split()[0], "any other") for p in prompts]
    assert set(kinds) == LEARNED_WHOLE | {"any other"}
    assert not any(Task(kind, prompt, "").held_out for kind, prompt in zip(kinds, prompts, strict=True))


def test_packed_sequences_train_as_if_each_were_alone(trainer: ModuleType, model: Any) -> None:
    rows = torch.from_numpy(trainer.corpus_part((6, 2_000))).long()[:2]
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows.tolist():
            sequence: list[int] = []
            for token in row:
                sequence.append(token)
                if token == trainer.END:
                    start = sequence.index(trainer.ANSWER)
                    logits = model(torch.tensor([sequence])).logits[0, start:-1]
                    total += F.cross_entropy(logits, torch.tensor(sequence[start + 1 :]), reduction="sum").item()
                    count += len(sequence) - start - 1
                    sequence = []
        packed = trainer.packed_loss(model, rows).item()
    assert count > 300
    assert packed == pytest.approx(total / count, rel=1e-3, abs=1e-7)


def test_a_model_that_answers_badly_is_not_written(
    trainer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer, "catalogue", lambda: (count_to(3), spell("cat")))
    monkeypatch.setattr(trainer, "drawn", lambda count, held_out, seed: [repeat("ab", 1)] if count else [])
    folder = tmp_path / "tiny"
    words = "--steps 2 --batch 2 --tokens 20000 --processes 1 --alone 0 --device cpu --folder"
    assert trainer.main([*words.split(), str(folder)]) == 1
    assert not folder.exists()
    assert "nothing written" in capsys.readouterr().out


def test_what_the_trainer_writes_loads_again_with_the_same_logits(
    trainer: ModuleType, model: Any, tmp_path: Path
) -> None:
    prompt = torch.tensor([[40, 50, 60, trainer.ANSWER]])
    trainer.write_folder(trainer.rounded(model), tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(again(prompt).logits, model(prompt).logits)
    assert (tmp_path / "tokenizer.json").read_bytes() == (TINY / "tokenizer.json").read_bytes()
    assert (tmp_path / "tokenizer_config.json").read_bytes() == (TINY / "tokenizer_config.json").read_bytes()
