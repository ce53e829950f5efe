"""The answer to hold all others against: one short request, served by the race's own executor and by `generate`.

Lanes that agree with each other may all be wrong alike: they share the model, the attention and the cache. So before a
race on a model that no test compares, one request runs both ways. The result is kept with the race.
"""

from __future__ import annotations

import copy
import random
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from cbviz.engine import Engine
from cbviz.engine.graphs import GraphExecutor
from cbviz.engine.logit_rules import LogitRules
from cbviz.engine.model_executor import ModelExecutor
from cbviz.errors import ModelError
from cbviz.experiments.answers import best_two
from cbviz.memory import BlockPool
from cbviz.models import LoadedModel
from cbviz.policies import Continuous
from cbviz.workload import Request

PROMPT = 32
"""Tokens of the prompt: enough to pass a small window, few enough to cost nothing."""
OUTPUT = 6
"""Tokens of the answer. END is ignored, so that there are as many."""
TESTED = ("tiny", "smollm2-135m")
"""Models whose answers the tests compare with `generate`, in float32 on a CPU."""
TEXT = (
    "Count from one to twenty in words, then name the months of the year in their order, and say which of them have "
    "thirty days and which have thirty-one."
)
TIE = {torch.float32: 2.0**-14, torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8}
"""How far apart the two best logits may be, relative to the largest, for rounding to turn their order round: sums of
thousands of products in another order differ in about the last three bits."""

_compared: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Reference]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Reference:
    """What the comparison gave.

    Attributes
    ----------
    tokens, same
        Output tokens, and how many of them are the same from the first one on.
    gap
        Where they part: difference of the model's two largest logits there. None where all are the same.
    routing
        Where they part and the model routes tokens to experts: the smallest relative distance between the last expert
        that was chosen and the first that was not. None elsewhere.
    note
        Why there was nothing to compare with; "" if there was.
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
    """Whether the tests compare this very model under these rules, on this kind of device, with `generate`."""
    return (
        loaded.name in TESTED
        and loaded.device.type == "cpu"
        and loaded.dtype == torch.float32
        and not loaded.weights
        and not rules
    )


def compared(
    loaded: LoadedModel, executor: ModelExecutor | GraphExecutor, *, slots: int, blocks: int, block_size: int
) -> Reference:
    """Serve one request on the executor, which must be idle, and compare its answer with `generate`.

    Done once for each model, kind of executor and set of rules in a process.

    Parameters
    ----------
    slots, blocks, block_size
        Those that the executor was made for.

    Raises
    ------
    ModelError
        The answers differ, and not at a near tie.
    """
    known = _compared.setdefault(loaded.model, {})
    positions = min(PROMPT + OUTPUT, executor.context_limit, blocks * block_size)
    key = (type(executor), executor.rules, str(loaded.device), loaded.dtype, positions)
    if key not in known:
        known[key] = _compare(loaded, executor, slots, BlockPool(blocks, block_size), positions)
    return known[key]


def _compare(
    loaded: LoadedModel, executor: ModelExecutor | GraphExecutor, slots: int, pool: BlockPool, positions: int
) -> Reference:
    output = min(OUTPUT, positions - 1)
    if output < 1:
        return Reference(0, 0, note="there is room for one token only")
    prompt = _prompt(loaded, executor.vocabulary, positions - output)
    try:
        theirs = generated(loaded.model, prompt, output, executor.rules)
    except Exception as error:  # whatever a model's own code raises
        return Reference(output, 0, note=f"it fails on this model with {type(error).__name__}")
    engine = Engine(executor, Continuous(), slots=slots, pool=pool)
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
    """The result where answers part at a near tie. Raises ModelError where it is none."""
    before = [*prompt, *ours[:same]]
    first, second, largest = best_two(loaded.model, before, rules, len(prompt))
    gap = first - second
    tolerance = TIE.get(loaded.dtype, TIE[torch.float32])
    if gap <= tolerance * largest:
        return Reference(len(ours), same, gap)
    routing = routing_gap(loaded.model, before) if loaded.dtype != torch.float32 else None
    if routing is not None and routing <= tolerance:
        return Reference(len(ours), same, gap, routing)
    raise ModelError(
        f"{loaded.name} is answered wrongly by this engine: a prompt of {len(prompt)} tokens gets {ours}, "
        f"and transformers' own generate gives {theirs}; it is not served."
    )


@torch.inference_mode()
def generated(model: PreTrainedModel, prompt: tuple[int, ...], output: int, rules: LogitRules) -> list[int]:
    """What `model.generate` answers greedily, under these rules, END ignored."""
    # A copy of the outermost object only: its settings can be others while the user's model keeps its own.
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


@torch.inference_mode()
def routing_gap(model: PreTrainedModel, tokens: list[int]) -> float | None:
    """The smallest distance between a token's last chosen expert and the first one left out, over all layers.

    Relative to the largest score of the token. None for a model that does not route, or does not show how.
    """
    config: Any = model.config.get_text_config()
    chosen = getattr(config, "num_experts_per_tok", None) or getattr(config, "moe_k", None)
    if not isinstance(chosen, int):
        return None
    ids = torch.tensor([tokens], device=model.device)
    try:
        scores = model(input_ids=ids, use_cache=False, output_router_logits=True).router_logits
        layers = [each.float().reshape(-1, each.shape[-1]) for each in scores if each.shape[-1] > chosen]
    except Exception:  # no such argument, or no such result
        return None
    gaps: list[float] = []
    for layer in layers:
        best = layer.topk(chosen + 1).values
        scale = layer.abs().amax(-1).clamp(min=1e-9)
        gaps.append(float(((best[:, -2] - best[:, -1]) / scale).min()))
    return min(gaps, default=None)


def _prompt(loaded: LoadedModel, vocabulary: int, length: int) -> tuple[int, ...]:
    """Text that the model can read, or tokens drawn at random where it has no tokenizer."""
    if loaded.tokenizer is not None:
        try:
            return tuple((loaded.encode(TEXT) * length)[:length])
        except ModelError:
            pass
    rng = random.Random(0)
    return tuple(rng.randrange(min(3, vocabulary - 1), vocabulary) for _ in range(length))
