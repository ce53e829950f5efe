"""What a generation config does to logits: token for token what `model.generate` does, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import logits_process

from cbviz.config import Preemption
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.eager.drawing import draw
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.eager.generation_config import HARMLESS, HONOURED, REFUSED
from cbviz.eager.logit_rules import LogitRules, SlotRules
from cbviz.errors import ModelError
from cbviz.policies import Continuous, Policy, Sarathi, Static, VllmV0, VllmV1
from cbviz.workload.request import Request, Sampling
from tests.shapes import END, make, solo
from tests.test_engine_answers import Jumpy, requests

CPU = torch.device("cpu")
RULES: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.5},
    "reward for repetition": {"repetition_penalty": 0.7},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "no token twice": {"no_repeat_ngram_size": 1},
    "min_new_tokens": {"min_new_tokens": 9},
    "min_length": {"min_length": 14},
    "suppress_tokens": {"suppress_tokens": [50, 8, 79, 17, -1, 5000]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [END, 17, 79, 8]},
}
ALL: dict[str, Any] = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 3,
    "min_new_tokens": 5,
    "min_length": 40,  # min_new_tokens takes its place
    "suppress_tokens": [50, 3],
    "begin_suppress_tokens": [END, 17],
}

# A minimum beyond a request's limit: transformers warns, and both stop at the limit.
pytestmark = pytest.mark.filterwarnings("ignore:Unfeasible length constraints")


def ruled(architecture: str = "llama", **settings: Any) -> PreTrainedModel:
    """A model that would often repeat itself or end at once, under these settings."""
    model = make(architecture)
    with torch.no_grad():  # END comes early now and then, so that holding it back shows
        model.get_output_embeddings().weight[END] *= 1.6
    model.generation_config = GenerationConfig(eos_token_id=END, bos_token_id=1, pad_token_id=0, **settings)
    return model


def served(
    model: PreTrainedModel,
    policy: Policy,
    work: list[Request],
    *,
    graphs: bool = False,
    slots: int = 4,
    lag: int = 0,
    blocks: int = 64,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
) -> tuple[dict[int, list[int]], Engine]:
    pool = BlockPool(blocks, 4, prefix_cache=prefix_cache)
    executor: GraphExecutor | ModelExecutor
    if graphs:
        executor = GraphExecutor(model, slots=slots, pool=pool, lag=lag, compiled=False)
    else:
        executor = ModelExecutor(model, slots=slots, pool=pool)
    engine = Engine(executor, policy, slots=slots, pool=pool, lag=lag, preemption=preemption)
    for _ in engine.run(work):
        pass
    return {r.id: engine.output(r.id) for r in work}, engine


def mixed(n: int, seed: int = 1) -> list[Request]:
    """Requests that END ends, some with stop tokens of their own, some of a forced length."""
    made = []
    for r in requests(n, seed):
        more: dict[str, Any] = {}
        if r.id % 4 == 1:
            more["stop_tokens"] = tuple(range(10, 40))
        elif r.id % 4 == 2:
            more["output_length"] = r.max_new_tokens
        made.append(Request(r.id, r.prompt, r.max_new_tokens, **more))
    return made


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_answers_as_generate_does(rule: str, graphs: bool) -> None:
    model, bare, work = ruled(**RULES[rule]), ruled(), mixed(8)
    alone = {r.id: solo(model, r) for r in work}
    assert alone != {r.id: solo(bare, r) for r in work}, "the rule must change something"
    assert served(model, Continuous(), work, graphs=graphs)[0] == alone


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize(
    ("policy", "more"),
    [
        (Continuous(), {"lag": 1}),
        (Static(), {"slots": 3}),  # finished rows are held and computed on
        (Static(), {"slots": 3, "lag": 1}),
        (Sarathi(chunk_size=6), {"lag": 1}),  # prompts in chunks
        (Jumpy(), {"slots": 5}),  # preempts, recomputes, pauses
        (Jumpy(), {"slots": 5, "lag": 1}),
        (VllmV0(), {"blocks": 13, "preemption": "swap"}),
        (VllmV1(), {"blocks": 14, "prefix_cache": True}),
    ],
    ids=lambda value: getattr(value, "name", None) or "-".join(map(str, value)),
)
def test_no_schedule_changes_what_the_rules_do(policy: Policy, more: dict[str, Any], graphs: bool) -> None:
    model, work = ruled(**ALL), mixed(12, seed=3)
    if more.get("prefix_cache"):
        work = [Request(r.id, (7, 8, 9, 10, 11, 12, 13, 14, *r.prompt), r.max_new_tokens) for r in work]
    alone = {r.id: solo(model, r) for r in work}
    assert served(model, policy, work, graphs=graphs, **more)[0] == alone


@torch.inference_mode()
def drawn_alone(model: PreTrainedModel, request: Request) -> list[int]:
    """transformers' own processors on the model's logits, then this project's noise."""
    tokens, asked = list(request.prompt), request.sampling
    penalty = logits_process.RepetitionPenaltyLogitsProcessor(1.3)
    grams = logits_process.NoRepeatNGramLogitsProcessor(3)
    minimum = logits_process.MinNewTokensLengthLogitsProcessor(len(tokens), 5, [END])
    never = logits_process.SuppressTokensLogitsProcessor([50, 3])
    first = logits_process.SuppressTokensAtBeginLogitsProcessor([END, 17], len(tokens))
    output: list[int] = []
    while len(output) < request.max_new_tokens and END not in output:
        ids = torch.tensor([tokens])
        scores = model(ids, use_cache=False).logits[:, -1].float()
        for rule in (penalty, grams, minimum, never, first):
            scores = rule(ids, scores)
        chosen = draw(
            scores,
            torch.tensor([asked.temperature]),
            torch.tensor([asked.top_k]),
            torch.tensor([asked.top_p]),
            torch.tensor([asked.seed]),
            torch.tensor([len(output)]),
        )
        output.append(int(chosen))
        tokens.append(int(chosen))
    return output


@pytest.mark.parametrize("graphs", [False, True])
def test_rules_come_before_temperature_and_filters(graphs: bool) -> None:
    model = ruled("qwen2", **ALL)
    work = [
        Request(r.id, r.prompt, r.max_new_tokens, sampling=Sampling(1.4, top_k=(0, 12)[r.id % 2], top_p=0.9, seed=r.id))
        for r in requests(8, seed=7)
    ]
    assert served(model, Continuous(), work, graphs=graphs)[0] == {r.id: drawn_alone(model, r) for r in work}


@pytest.mark.parametrize("kind", [ModelExecutor, GraphExecutor])
def test_nothing_is_kept_for_rules_that_are_not_set(kind: Any) -> None:
    options = {} if kind is ModelExecutor else {"compiled": False}
    plain = kind(ruled(), slots=2, pool=BlockPool(8, 4), **options)
    assert plain._rules is None
    assert not plain.rules
    ignoring = kind(ruled(num_beams=3), slots=2, pool=BlockPool(8, 4), rules=LogitRules(), **options)
    assert ignoring._rules is None
    penalised = kind(ruled(repetition_penalty=1.2), slots=2, pool=BlockPool(8, 4), **options)
    assert penalised._rules._ends is None, "only minimum lengths need the tokens that end each slot's request"


# ---------------------------------------------------------------------- every field


def test_every_field_of_a_generation_config_is_honoured_harmless_or_refused() -> None:
    known = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    classes = [set(HONOURED), set(HARMLESS), set(REFUSED)]
    assert known == set().union(*classes), "a field that is not classified"
    assert len(known) == sum(map(len, classes)), "a field that is in two classes"


def test_the_defaults_of_generate_are_all_let_through() -> None:
    model = ruled()
    model.generation_config = GenerationConfig(**GenerationConfig._get_default_generation_params())
    assert LogitRules.of(model) == LogitRules()


REFUSALS: dict[str, Any] = {
    "assistant_ensemble_weight": 0.5,
    "bad_words_ids": [[5, 6]],
    "cache_implementation": "quantized",
    "constraints": ["x"],
    "dola_layers": "high",
    "encoder_no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.2,
    "exponential_decay_length_penalty": (5, 1.1),
    "force_words_ids": [[5]],
    "forced_bos_token_id": 5,
    "forced_eos_token_id": 2,
    "guidance_scale": 1.5,
    "is_assistant": True,
    "max_time": 3.0,
    "num_beams": 4,
    "penalty_alpha": 0.6,
    "remove_invalid_values": True,
    "sequence_bias": [[[5], 2.0]],
    "stop_strings": ["stop"],
    "token_healing": True,
    "watermarking_config": {"bias": 2.0},
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_change_an_answer_is_refused_by_name(name: str) -> None:
    model = ruled()
    setattr(model.generation_config, name, REFUSALS[name])
    with pytest.raises(ModelError, match=rf"sets {name} = .*--ignore-generation-config") as caught:
        ModelExecutor(model, slots=2, pool=BlockPool(8, 4))
    assert str(caught.value).count(". ") == 0, "one sentence"
    assert ModelExecutor(model, slots=2, pool=BlockPool(8, 4), rules=LogitRules()).rules == LogitRules()


def test_a_field_of_a_later_transformers_is_refused_until_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ruled()
    model.generation_config.makers_note = "served as it is"  # beside the fields: `generate` does not look there
    assert LogitRules.of(model) == LogitRules()
    before = GenerationConfig.__init__

    def later(self: GenerationConfig, **given: Any) -> None:
        self.novelty = None
        before(self, **given)

    monkeypatch.setattr(GenerationConfig, "__init__", later)
    assert LogitRules.of(model) == LogitRules()
    model.generation_config.novelty = 0.5
    with pytest.raises(ModelError, match=r"sets novelty = 0\.5, which is not known here"):
        LogitRules.of(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("nan")),
        ("repetition_penalty", "1.2"),
        ("suppress_tokens", "5"),
        ("suppress_tokens", [1.5]),
        ("begin_suppress_tokens", [[5]]),
        ("min_new_tokens", -1),
        ("min_length", 2.5),
        ("no_repeat_ngram_size", True),
    ],
)
def test_values_that_make_no_sense_are_refused(name: str, value: object) -> None:
    model = ruled()
    setattr(model.generation_config, name, value)
    with pytest.raises(ModelError, match=rf"sets {name} = .* must be"):
        LogitRules.of(model)


def test_settings_in_the_model_s_own_configuration_are_found(tmp_path: Any) -> None:
    """As old checkpoints have them: transformers moves them where no generation config lies beside."""
    import json

    from transformers import LlamaForCausalLM

    model = make("llama")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"repetition_penalty": 1.5}), "utf-8")
    (tmp_path / "generation_config.json").unlink()
    assert LogitRules.of(LlamaForCausalLM.from_pretrained(tmp_path)) == LogitRules(repetition_penalty=1.5)
    model.config.repetition_penalty = 1.5
    with pytest.raises(ModelError, match="where transformers refuses it, too"):
        LogitRules.of(model)


def test_the_rules_ask_the_device_nothing() -> None:
    """Traced as one graph: a value that the host would have to wait for would break it, as it would break a capture."""
    rules = SlotRules(
        LogitRules(1.3, 3, 0, 5, (50, 3), (END, 17)), slots=3, vocabulary=97, end_tokens=(END,), device=CPU
    )
    rules.seat(0, (9,))
    rules.seat(2, None)
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 97, generator=draw)
    history = torch.randint(0, 99, (4, 12), generator=draw, dtype=torch.int32)
    given = (logits, torch.tensor([0, 1, 2, 2]), history, torch.tensor([12, 5, 1, 2]), torch.tensor([4, 0, 0, 9]))
    traced = torch.compile(rules.apply, fullgraph=True, backend="eager", dynamic=True)
    assert torch.equal(traced(*given), rules.apply(*given))
