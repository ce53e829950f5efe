"""Before a race on a model that no test compares, one short answer is compared with the model's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from cbviz.cli import comparison
from cbviz.eager.forward import VarlenPass
from cbviz.errors import ModelError
from cbviz.models import LoadedModel
from cbviz.run import reference
from cbviz.run.race import Race, race
from cbviz.run.reference import Reference, generated
from cbviz.run.routing import routing_gaps, tied
from cbviz.workload import Request, Workload
from tests.shapes import END, make

WORK = Workload("four", tuple(Request(i, tuple(range(3, 9 + i)), 8, output_length=8) for i in range(4)))


def loaded(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> LoadedModel:
    return LoadedModel("mine", model.to(dtype), None, torch.device("cpu"), dtype)


def raced(model: LoadedModel, **more: Any) -> Race:
    return race(model, workload=WORK, slots=2, repeats=1, live=False, **more)


def test_it_is_kept_with_the_race_and_reported() -> None:
    ran = raced(loaded(make("qwen2-sliding")))
    assert ran.reference == Reference(6, 6)
    facts = json.loads(json.dumps(ran.to_json()))
    assert facts["reference"]["sentence"] == (
        "Compared with transformers' own generate before the race: 6 of 6 tokens the same."
    )
    assert facts["reference"]["sentence"] in comparison(facts)
    assert "All 4 answers are the same, token by token." in comparison(facts)


def test_it_is_done_once_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(reference, "generated", lambda *given: calls.append(1) or generated(*given))
    model = loaded(make("llama"))
    for _ in range(3):
        assert raced(model).reference == Reference(6, 6)
    assert len(calls) == 1
    model.model.generation_config.repetition_penalty = 1.4
    assert raced(model).reference == Reference(6, 6)
    assert len(calls) == 2, "other rules give other answers"


def test_models_that_the_tests_compare_are_not_compared_again() -> None:
    assert race("tiny", requests=4, slots=2, repeats=1, live=False).reference is None


class Forgetful(LlamaForCausalLM):
    """Wrong in every lane alike: its logits are turned round, but only where this engine runs it."""

    def forward(self, *given: Any, **named: Any) -> Any:
        output = super().forward(*given, **named)
        if isinstance(named.get("cbviz_pass"), VarlenPass):
            output.logits = output.logits.flip(-1)
        return output


def test_lanes_that_are_wrong_alike_do_not_race() -> None:
    model = make("llama")
    model.__class__ = Forgetful
    with pytest.raises(
        ModelError, match=r"^this engine answers wrongly with mine and does not serve it: .* own generate gives .*\.$"
    ):
        raced(loaded(model))


@pytest.mark.parametrize(("dtype", "apart"), [(torch.bfloat16, 0.1), (torch.bfloat16, 2.0), (torch.float32, 0.1)])
def test_a_near_tie_is_reported_and_anything_else_refused(
    dtype: torch.dtype, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama")
    model.__class__ = Forgetful
    monkeypatch.setattr(reference, "best_two", lambda *_: (16.0, 16.0 - apart, 16.0))
    if (dtype, apart) != (torch.bfloat16, 0.1):
        with pytest.raises(ModelError, match="answers wrongly"):
            raced(loaded(model, dtype))
        return
    kept = raced(loaded(model, dtype)).reference
    assert kept is not None
    assert kept.same < 6
    assert kept.gap == pytest.approx(0.1)
    assert str(kept).endswith("then a near tie: the two best tokens were 0.1 apart.")


def test_a_routing_tie_is_found_among_experts() -> None:
    config = MixtralConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MixtralForCausalLM(config).eval()
    gaps = routing_gaps(model, [5, 6, 7, 8])
    assert gaps is not None
    assert 0 < gaps[1] <= gaps[0] < 1
    assert tied(gaps, torch.float32) is None
    with torch.no_grad():  # all experts alike: the second and the third tie
        for name, parameter in model.named_parameters():
            if "gate.weight" in name:
                parameter.zero_()
    assert routing_gaps(model, [5, 6, 7, 8]) == (0, 0)
    assert tied((0, 0), torch.bfloat16) == 0
    assert routing_gaps(make("llama"), [5, 6, 7, 8]) is None
    assert tied((2**-6, 1), torch.bfloat16) == 2**-6
    assert tied((2**-5, 2**-8), torch.bfloat16) == 2**-8
    assert tied((2**-5, 2**-7), torch.bfloat16) is None
    said = str(Reference(6, 2, 1.5, routing=0.001))
    assert said.endswith("2 of 6 tokens the same, then a routing tie: two experts' scores were 0.001 apart.")


def test_a_model_whose_own_generate_fails_is_not_called_right() -> None:
    class Silent(LlamaForCausalLM):
        def generate(self, *given: Any, **named: Any) -> Any:
            raise RuntimeError("no")

    model = make("llama")
    model.__class__ = Silent
    found = comparison(raced(loaded(model)).to_json())
    assert (
        "could not be compared with transformers' own generate: it fails on this model with RuntimeError" in found[-1]
    )
    assert "The lanes agree on all 4 answers, which may all be wrong alike." in found


def test_the_user_s_settings_stay_as_they_were() -> None:
    model = make("llama")
    model.generation_config = GenerationConfig(eos_token_id=END, repetition_penalty=1.3, suppress_tokens=[5])
    before = model.generation_config
    state = before.to_dict()
    ran = raced(loaded(model))
    assert model.generation_config is before
    assert before.to_dict() == state
    assert ran.traces[0].meta.extra["logit_rules"] == "repetition_penalty 1.3, suppress_tokens [5]"
    assert ran.to_json()["logit_rules"] == {"repetition_penalty": 1.3, "suppress_tokens": (5,)}


def test_settings_are_refused_or_ignored_on_demand() -> None:
    model = make("llama")
    bare = raced(loaded(model))
    model.generation_config.num_beams = 3
    with pytest.raises(ModelError, match="sets num_beams = 3, which cannot be honoured; ignore_generation_config=True"):
        raced(loaded(model))
    ignoring = raced(loaded(model), ignore_generation_config=True)
    assert ignoring.reference == Reference(6, 6)
    assert ignoring.to_json()["ignore_generation_config"] is True
    assert ignoring.traces[0].requests.tokens == bare.traces[0].requests.tokens
