"""The reference answer: one short request, served by the race's own executor and by transformers' `generate`.

Lanes that agree with each other may all be wrong in the same way: they share the model, the attention and the cache.
So before a race on a model that no test covers, one request runs both ways. The race keeps the result.
"""

from __future__ import annotations

import copy
import random
from dataclasses import asdict, dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from cbviz.config import NO_OPTIONS, EngineConfig
from cbviz.eager.logit_rules import LogitRules
from cbviz.errors import ModelError
from cbviz.models import LoadedModel
from cbviz.policies import Continuous
from cbviz.run.answers import best_two
from cbviz.run.build import ModelOrGraphs, build_engine
from cbviz.run.routing import routing_gaps, tied
from cbviz.workload import Request

PROMPT = 32
"""Tokens of the prompt: more than a small attention window, few enough to cost nothing."""
OUTPUT = 6
"""Tokens of the answer. END is ignored, so that the answer always has this length."""
TESTED = ("tiny", "smollm2-135m")
"""Models whose answers the tests compare with `generate`, in float32 on a CPU."""
TEXT = (
    "Count from one to twenty in words, then name the months of the year in their order, and say which of them have "
    "thirty days and which have thirty-one."
)
TIE = {torch.float32: 2.0**-14, torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8}
"""How close the two best logits must be, relative to the largest, for rounding to swap them: sums of thousands of
products taken in another order differ in about the last three bits."""

_compared: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Reference]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Reference:
    """The result of the comparison.

    Attributes
    ----------
    tokens, same
        Output tokens, and how many agree from the start.
    gap
        Difference of the model's two largest logits where the answers diverge. None if they agree.
    routing
        For a model that routes tokens to experts, where the answers diverge: the smallest relative distance between
        the last expert chosen and the first one not chosen. None otherwise.
    note
        Why there was no answer to compare with; "" if there was.
    """

    tokens: int
    same: int
    gap: float | None = None
    routing: float | None = None
    note: str = ""

    def __str__(self) -> str:
        """The result in one sentence."""
        if self.note:
            return f"The answers could not be compared with transformers' own generate: {self.note}."
        said = f"Compared with transformers' own generate before the race: {self.same} of {self.tokens} tokens the same"
        if self.gap is None:
            return f"{said}."
        if self.routing is not None:
            return f"{said}, then a routing tie: two experts' scores were {self.routing:.2g} apart."
        return f"{said}, then a near tie: the two best tokens were {self.gap:.2g} apart."

    def to_json(self) -> dict[str, Any]:
        """The result as plain numbers and strings, and as a sentence."""
        return asdict(self) | {"sentence": str(self)}


def is_tested(loaded: LoadedModel, rules: LogitRules) -> bool:
    """Whether the tests compare this model with `generate` under these rules and on this kind of device."""
    return (
        loaded.name in TESTED
        and loaded.device.type == "cpu"
        and loaded.dtype == torch.float32
        and not loaded.weights
        and not rules
    )


def compared(loaded: LoadedModel, executor: ModelOrGraphs, *, config: EngineConfig) -> Reference:
    """Serve one request on the executor, which must be idle, and compare its answer with `generate`.

    The comparison runs once per process for each model, kind of executor and set of rules.

    Parameters
    ----------
    loaded, executor
        The model, and the executor to check.
    config
        The configuration that the executor was made for.

    Returns
    -------
    Reference
        How far the answers agree.

    Raises
    ------
    ModelError
        The answers diverge, and not at a near tie.
    """
    known = _compared.setdefault(loaded.model, {})
    positions = min(PROMPT + OUTPUT, executor.context_limit, config.blocks * config.block_size)
    key = (type(executor), executor.rules, str(loaded.device), loaded.dtype, positions)
    if key not in known:
        known[key] = _compare(loaded, executor, config, positions)
    return known[key]


def _compare(loaded: LoadedModel, executor: ModelOrGraphs, config: EngineConfig, positions: int) -> Reference:
    output = min(OUTPUT, positions - 1)
    if output < 1:
        return Reference(0, 0, note="there is room for one token only")
    prompt = _prompt(loaded, executor.vocabulary, positions - output)
    try:
        theirs = generated(loaded.model, prompt, output, executor.rules)
    except Exception as error:  # the model's own code may raise anything
        return Reference(output, 0, note=f"it fails on this model with {type(error).__name__}")
    engine = build_engine(executor, Continuous(), replace(config, kv=NO_OPTIONS, lag=0), "seconds")
    request = Request(0, prompt, output, output_length=output)
    for _ in engine.run([request]):
        pass
    ours = engine.output(0)
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), output)
    if same == output:
        return Reference(output, same)
    return _tie(loaded, executor.rules, prompt, ours, theirs, same)


def _tie(
    loaded: LoadedModel, rules: LogitRules, prompt: tuple[int, ...], ours: list[int], theirs: list[int], same: int
) -> Reference:
    """The result if the answers diverge at a near tie. Raises ModelError if it is not one."""
    before = [*prompt, *ours[:same]]
    first, second, largest = best_two(loaded.model, before, rules, len(prompt))
    gap = first - second
    tolerance = TIE.get(loaded.dtype, TIE[torch.float32])
    if gap <= tolerance * largest:
        return Reference(len(ours), same, gap)
    gaps = routing_gaps(loaded.model, before) if loaded.dtype != torch.float32 else None
    routing = None if gaps is None else tied(gaps, loaded.dtype)
    if routing is not None:
        return Reference(len(ours), same, gap, routing)
    raise ModelError(
        f"this engine answers wrongly with {loaded.name} and does not serve it: a prompt of {len(prompt)} tokens gets "
        f"{ours}, and transformers' own generate gives {theirs}."
    )


@torch.inference_mode()
def generated(model: PreTrainedModel, prompt: tuple[int, ...], output: int, rules: LogitRules) -> list[int]:
    """The greedy answer of `model.generate` under these rules, ignoring END."""
    # A shallow copy, so that its settings can change while the user's model keeps its own.
    twin = copy.copy(model)
    twin.generation_config = GenerationConfig()
    ids = torch.tensor([prompt], device=model.device)
    settings: dict[str, Any] = {name: value for name, value in rules.chosen().items() if "min_" not in name}
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    answer = twin.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        generation_config=GenerationConfig(do_sample=False, max_new_tokens=output, pad_token_id=0, **settings),
    )
    tokens: list[int] = answer[0, len(prompt) :].tolist()
    return tokens


def _prompt(loaded: LoadedModel, vocabulary: int, length: int) -> tuple[int, ...]:
    """Text as the model's tokens, or random tokens if it has no tokenizer."""
    if loaded.tokenizer is not None:
        try:
            return tuple((loaded.encode(TEXT) * length)[:length])
        except ModelError:
            pass
    rng = random.Random(0)
    return tuple(rng.randrange(min(3, vocabulary - 1), vocabulary) for _ in range(length))
