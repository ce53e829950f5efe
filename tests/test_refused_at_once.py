"""Things that cannot be served are refused before anything runs, with the reason and what to do instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedModel

import cbviz
from cbviz.core.block_pool import BlockPool
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.eager.logit_rules import LogitRules
from cbviz.errors import CbvizError, ModelError
from cbviz.models import LoadedModel, load
from cbviz.models.served import end_tokens_of

CONFIG = LlamaConfig(
    vocab_size=97, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128,
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


class OwnProcessor(LlamaForCausalLM):
    """Changes logits where no setting tells of it."""

    def _get_logits_processor(self, *arguments: Any, **options: Any) -> Any:
        return super()._get_logits_processor(*arguments, **options)


def replaced() -> PreTrainedModel:
    model = LlamaForCausalLM(CONFIG).eval()
    plain = model.forward
    model.forward = lambda *arguments, **options: plain(*arguments, **options)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "a causal language model of transformers is needed, not None"),
        (lambda: "tiny", "a causal language model of transformers is needed, not 'tiny'"),
        (lambda: nn.Linear(2, 2), "a causal language model of transformers is needed, not Linear"),
        (lambda: LlamaModel(CONFIG).eval(), "LlamaModel has no head .* AutoModelForCausalLM"),
        (
            lambda: torch.compile(LlamaForCausalLM(CONFIG).eval(), backend="eager"),
            "compiled by torch.compile; pass the",
        ),
        (lambda: OwnProcessor(CONFIG).eval(), "OwnProcessor changes logits in its own way"),
        (replaced, "the forward method of this LlamaForCausalLM was replaced on the object"),
    ],
)
def test_what_is_no_model_that_can_be_followed(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelExecutor(make(), slots=2, pool=BlockPool(8, 16))


@pytest.mark.parametrize("ends", [np.int64(42), torch.tensor([42]), np.array([42]), 42, [42]])
def test_numbers_of_numpy_and_torch_end_an_output(ends: object) -> None:
    model = LlamaForCausalLM(CONFIG).eval()
    model.generation_config = GenerationConfig(suppress_tokens=np.array([5, 56]), min_new_tokens=2**70)
    model.generation_config.eos_token_id = ends
    assert end_tokens_of(model) == (42,)
    rules = LogitRules.of(model)
    assert rules.suppress_tokens == (5, 56)
    assert rules.min_new_tokens == 2**31 - 1, "no output is longer"


def test_a_run_is_started_once(tiny: LoadedModel) -> None:
    race = cbviz.race(tiny, slots=2, requests=3, repeats=1, max_new_tokens=8, live=False, run=False)
    race.run()
    for again in (race.run, race.start):
        with pytest.raises(CbvizError, match="this race has been started and can run only once"):
            again()
    assert len(race.lanes) == 2
    play = cbviz.play(tiny, slots=2, pace=240, live=False, run=False)
    play.start()
    with pytest.raises(CbvizError, match="this playground has been started"):
        play.start()
    play.stop()
    play.wait()
    assert play.failure is None


def test_a_script_that_ends_stops_what_it_started() -> None:
    """A thread that computes while the interpreter goes would abort the process."""
    script = "import cbviz, time; cbviz.play('tiny', pace=240, live=False, run=False).start(); time.sleep(1.5)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "terminate called" not in ended.stderr


def test_a_switch_is_true_or_false(tiny: LoadedModel) -> None:
    with pytest.raises(CbvizError, match="ignore_generation_config must be True or False, not 'no'"):
        cbviz.race(tiny, live=False, ignore_generation_config="no")  # type: ignore[arg-type]
