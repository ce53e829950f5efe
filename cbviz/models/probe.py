"""A probe pass: what a model requires of its attention.

A configuration does not say. Head sizes differ from the stated ones, windows appear only in a mask, layers attend
twice. So a short prompt runs through the model once, with our attention function recording every call. Then two prompts
run packed together, as the engine packs them. If the logits differ from the model's own, something other than attention
mixes tokens (a convolution, a recurrence), and the model is refused, whatever the cause. Both passes use a copy of the
modules, before a cache is allocated.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from cbviz.errors import CbvizError, ModelError
from cbviz.models import masks
from cbviz.models.masks import Mask
from cbviz.models.modules import configurations, drops_cap, twin
from cbviz.models.needs import AttentionNeeds, LayerNeeds
from cbviz.models.plain_attention import plain_attention

NAME = "cbviz_probe"
LONGEST = 48
"""Tokens of the prompt: long enough to reveal a short window, short enough to cost nothing."""
FIRST_LENGTH = 19
"""Tokens of the first of the two prompts into which it is cut."""

NO_POSITIONS = (
    "it takes no position_ids; this engine tells every token its position, for tokens of several requests share a pass"
)

HARMLESS = frozenset(
    {
        "dropout",
        "position_ids",
        "use_cache",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "logits_to_keep",
        "attention_mask",
        "return_dict",
    }
)
"""Keyword arguments of the attention call that have no effect here: causality is read from the mask."""


@dataclass(slots=True)
class AttentionRecorder:
    """What the probe pass of a thread has seen so far."""

    names: dict[nn.Module, str]
    limit: int
    """The model's context: how far masks are evaluated."""
    calls: list[LayerNeeds] = field(default_factory=list)
    problem: str = ""
    """The first problem found."""
    hands_on: bool = True
    masks: dict[int, tuple[Tensor, Mask]] = field(default_factory=dict)
    """The masks handed out, by the address of their memory."""
    bounds: tuple[int, ...] = ()
    """Starts of the packed prompts, and the end; empty in the first pass."""
    call: int = 0


_here = threading.local()


@contextmanager
def _recording(recorder: AttentionRecorder) -> Iterator[None]:
    """Record this thread's passes of a probed copy within the block."""
    _here.recorder = recorder
    try:
        yield
    finally:
        del _here.recorder


def _mask(
    batch_size: int, q_length: int, kv_length: int, *_: Any, mask_function: Any, device: Any = None, **__: Any
) -> Tensor:
    """The registered mask function: bool [1, 1, queries, keys], kept with its description."""
    recorder: AttentionRecorder = _here.recorder
    if recorder.bounds:  # packed: the windows are already known
        return torch.ones((1, 1, q_length, kv_length), dtype=torch.bool, device=device)
    found = masks.read_function(mask_function, q_length, recorder.limit)
    seen = torch.ones((1, 1, q_length, kv_length), dtype=torch.bool, device=device).tril()
    recorder.masks[seen.untyped_storage().data_ptr()] = (seen, found)
    return seen


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any = None,
    *_: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    cbviz_pass: object = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The registered attention function: records the call, and computes it."""
    recorder: AttentionRecorder = _here.recorder
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    if recorder.bounds:
        window = recorder.calls[recorder.call].window if recorder.call < len(recorder.calls) else None
        recorder.call += 1
        seen = _seen(recorder.bounds, window, query.device)
    else:
        recorder.hands_on &= cbviz_pass is recorder
        mask = _reaching(recorder, attention_mask, module, others.get("is_causal"))
        if mask.near and mask.window is None and sliding_window is not None and sliding_window < recorder.limit:
            mask = Mask(sliding_window)
        problem = _problem(query, key, value, mask, others)
        recorder.problem = recorder.problem or (problem and f"{recorder.names.get(module, 'attention')} {problem}")
        recorder.calls.append(
            LayerNeeds(
                module=recorder.names.get(module, type(module).__name__),
                query_heads=query.shape[1],
                key_heads=key.shape[1],
                value_heads=value.shape[1],
                key_size=key.shape[3],
                value_size=value.shape[3],
                window=mask.window,
                softcap=softcap is not None,
                sinks=s_aux is not None,
            )
        )
        windows = {call.window for call in recorder.calls if call.module == recorder.calls[-1].module}
        if len(windows) > 1:
            recorder.problem = recorder.problem or (
                f"{recorder.calls[-1].module} attends with several windows in one pass; this engine serves one a layer"
            )
        if recorder.problem:
            raise ModelError(recorder.problem)
        seen = _seen((0, query.shape[2]), mask.window, query.device)
    output = plain_attention(query, key, value, seen, scale=scale, softcap=softcap, sinks=s_aux)
    return output.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _mask)


def _reaching(recorder: AttentionRecorder, mask: object, module: nn.Module, is_causal: bool | None) -> Mask:
    """The description of the mask that an attention call received."""
    if mask is None:  # then a flag decides, of the call or else of the module
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        return Mask() if causal else masks.NOT_CAUSAL
    if isinstance(mask, Tensor):
        known = recorder.masks.get(mask.untyped_storage().data_ptr())
        if known is not None:
            return known[1]
        if mask.dtype == torch.bool and mask.ndim == 4 and mask.shape[2] == mask.shape[3]:
            found = masks.read_pattern(mask[0, 0])
            return found if found.problem else masks.UNREADABLE
    return Mask(problem="adds numbers of its own to the attention scores")


def _problem(query: Tensor, key: Tensor, value: Tensor, mask: Mask, others: dict[str, Any]) -> str:
    """Why a call cannot be served; "" if it can."""
    if mask.problem:
        return f"{mask.problem}; this engine serves causal attention, with or without a sliding window"
    unknown = sorted(name for name, given in others.items() if name not in HARMLESS and given is not None)
    if unknown:
        return (
            f"asks attention for {unknown[0]!r}; this engine serves causal attention with windows, capped scores and "
            "sinks"
        )
    if query.shape[2] != key.shape[2] or key.shape[2] != value.shape[2]:
        return "attends to other tokens than those of the pass; this engine serves attention of a text to itself"
    if query.shape[1] % key.shape[1] or query.shape[1] % value.shape[1] or query.shape[3] != key.shape[3]:
        return f"has {query.shape[1]} query heads for {key.shape[1]} KV heads; this engine serves equal shares"
    return ""


def _seen(bounds: tuple[int, ...], window: int | None, device: torch.device) -> Tensor:
    """bool [1, 1, tokens, tokens]: causal attention within each of the packed prompts."""
    position = torch.arange(bounds[-1], device=device)
    owner = torch.bucketize(position, torch.tensor(bounds[1:-1], device=device, dtype=torch.int64), right=True)
    distance = position[:, None] - position[None, :]
    seen = (distance >= 0) & (owner[:, None] == owner[None, :])
    return (seen if window is None else seen & (distance < window))[None, None]


@torch.inference_mode()
def probe(model: PreTrainedModel, limit: int) -> AttentionNeeds:
    """Find out what a model requires of its attention, and check that nothing else mixes its tokens.

    Parameters
    ----------
    model
        A causal LM in eval mode on any device. It stays unchanged.
    limit
        The most positions that a request may have.

    Returns
    -------
    AttentionNeeds
        What the passes showed.

    Raises
    ------
    ModelError
        The engine cannot do what the model requires; the message names type and layer, and what is served.
    """
    kind = str(model.config.get_text_config().model_type)
    if drops_cap(model):
        raise ModelError(
            f"this {kind!r} model caps its attention scores, and its own attention ('sdpa') leaves the cap out in this "
            "version of transformers; call model.set_attn_implementation('eager') first."
        )
    takes = _takes(model)
    copied = twin(model, NAME, hooks=False)
    names = {module: name for name, module in copied.named_modules()}
    ids = _prompt(model, min(LONGEST, limit))
    recorder = AttentionRecorder(names, limit)
    cuda = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        try:
            with _recording(recorder):
                _logits(copied, ids, [len(ids)], takes, recorder)
            _check_calls(copied, kind, recorder)
            _check_cache(copied, recorder)
            _check_packed(model, copied, ids, takes, recorder)
        except CbvizError as error:
            raise ModelError(f"this {kind!r} model cannot be served: {error}".rstrip(".") + ".") from None
        except Exception as error:  # a model's own code
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ModelError(
                f"this {kind!r} model cannot be served: a forward pass of {len(ids)} tokens fails "
                f"({type(error).__name__}: {reason.rstrip('.')})."
            ) from error
    return AttentionNeeds(
        kind=kind,
        layers=tuple(recorder.calls),
        context_limit=limit,
        keywords=frozenset(takes - {"attention_mask"}),
        hands_on=recorder.hands_on,
    )


def _takes(model: PreTrainedModel) -> set[str]:
    """Which of the optional arguments of a pass this model's forward accepts."""
    parameters = inspect.signature(type(model).forward).parameters
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {name for name in ("logits_to_keep", "attention_mask") if name in parameters}
    return named | ({"cbviz_pass"} if any_keyword else set())


def _prompt(model: PreTrainedModel, length: int) -> list[int]:
    """Ordinary token ids: neither padding nor an image."""
    special: set[int] = set()
    for config in configurations(model):
        for name, value in vars(config).items():
            if "token" in name or name.endswith(("_id", "_index")):
                special |= {one for one in (value if isinstance(value, list | tuple) else [value]) if type(one) is int}
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    # If the table is longer than the vocabulary, its last ids may be reserved.
    stated = getattr(model.config.get_text_config(), "vocab_size", None)
    usable = [i for i in range(min(vocabulary, stated or vocabulary, 4096)) if i not in special] or [0]
    return [usable[(7 * i + i * i // 3) % len(usable)] for i in range(length)]


def _logits(
    model: PreTrainedModel, ids: list[int], lengths: list[int], takes: set[str], recorder: AttentionRecorder | None
) -> Tensor:
    """float32 [prompts, vocabulary]: logits after the last token of each prompt in one packed row."""
    position = torch.cat([torch.arange(length) for length in lengths])
    last = torch.tensor(lengths).cumsum(0) - 1
    arguments: dict[str, Any] = {}
    if "logits_to_keep" in takes:
        arguments["logits_to_keep"] = last.to(model.device)
    if recorder is None:
        arguments["attention_mask"] = torch.ones((1, len(ids)), dtype=torch.int64, device=model.device)
        if "attention_mask" not in takes:
            del arguments["attention_mask"]
    elif "cbviz_pass" in takes:
        arguments["cbviz_pass"] = recorder
    output = model(
        input_ids=torch.tensor([ids], device=model.device),
        position_ids=position.unsqueeze(0).to(model.device),
        use_cache=False,
        **arguments,
    )
    logits: Tensor = output.logits[0]
    return (logits if "logits_to_keep" in takes else logits[last.to(logits.device)]).float()


def _check_calls(copied: PreTrainedModel, kind: str, recorder: AttentionRecorder) -> None:
    """Every layer must attend, through transformers' registry."""
    if not recorder.calls:
        raise ModelError(
            f"models of type {kind!r} do not take their attention from transformers' registry, where this engine puts "
            "its own"
        )
    silent = _silent_layers(copied, recorder)
    if silent:
        raise ModelError(
            f"{silent} is no attention that transformers' registry serves; this engine serves models that attend in "
            "every layer"
        )


def _silent_layers(copied: PreTrainedModel, recorder: AttentionRecorder) -> str:
    """Name and type of the first decoder layer that did not attend; "" if all did."""
    count = copied.config.get_text_config().num_hidden_layers
    asked = [call.module for call in recorder.calls]
    for name, module in copied.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and count > 1:
            layers = [(f"{name}.{i}", layer) for i, layer in enumerate(module)]
            quiet = [(n, layer) for n, layer in layers if not any(f"{one}.".startswith(f"{n}.") for one in asked)]
            if quiet and len(quiet) < len(layers):
                first, layer = quiet[0]
                mixer = next((type(x).__name__ for x in layer.children()), type(layer).__name__)
                return f"{first} ({mixer})"
    return ""


def _check_cache(copied: PreTrainedModel, recorder: AttentionRecorder) -> None:
    """transformers' cache must keep what the mask shows; else a token would see more in a prompt than after it."""
    try:
        kept = DynamicCache(config=copied.config).layers
    except Exception:  # a model with another kind of cache is judged by its answers
        return
    for call in recorder.calls:
        number = getattr(copied.get_submodule(call.module), "layer_idx", None)
        layer = kept[number] if type(number) is int and number < len(kept) else None
        width = getattr(layer, "sliding_window", None)
        if width is not None and width < min(recorder.limit, call.window or recorder.limit):
            raise ModelError(
                f"{call.module} keeps {width} positions, and its mask shows {call.window or 'all'} of them; this "
                "engine serves layers whose mask and cache agree"
            )


def _check_packed(
    model: PreTrainedModel, copied: PreTrainedModel, ids: list[int], takes: set[str], recorder: AttentionRecorder
) -> None:
    """Two prompts packed into one row must get the logits that the model itself gives each."""
    cut = min(FIRST_LENGTH, len(ids) // 2)
    if not cut:
        return
    lengths = [cut, len(ids) - cut]
    recorder.bounds = (0, cut, len(ids))
    with _recording(recorder):
        together = _logits(copied, ids, lengths, takes, recorder)
    if recorder.call != len(recorder.calls):
        raise ModelError(
            f"it attends {len(recorder.calls)} times in one pass and {recorder.call} in another; this engine serves "
            "models that attend equally often in every pass"
        )
    own = twin(model, hooks=False)
    alone = torch.cat([_logits(own, part, [len(part)], takes, None) for part in (ids[:cut], ids[cut:])])
    if not torch.isfinite(alone).all() or _near(together, alone, model.dtype):
        return
    if "position_ids" not in inspect.signature(type(model).forward).parameters:
        raise ModelError(NO_POSITIONS)
    raise ModelError(
        f"something other than causal attention mixes its tokens{_suspect(copied)}, so that what shares a pass "
        "would change an answer; this engine serves models whose tokens interact in attention only"
    )


def _near(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether two rows of logits are equal up to rounding."""
    one, other = one - one.mean(-1, keepdim=True), other - other.mean(-1, keepdim=True)
    if dtype in (torch.float32, torch.float64):
        return bool((one - other).abs().max() <= 2e-3 * other.abs().max() + 1e-6)
    # Rounding in half precision adds up over layers, and a router may flip: only a clearly different answer counts.
    return bool(((one - other).norm(dim=-1) <= 0.5 * other.norm(dim=-1)).all())


def _suspect(copied: PreTrainedModel) -> str:
    """The type of the module that is most likely at fault, if a name suggests one."""
    for module in copied.modules():
        name = type(module).__name__
        if any(word in name for word in ("Mamba", "Mixer", "Conv", "Delta", "Recurrent", "SSM", "Rwkv", "Indexer")):
            return f" ({name})"
    return ""
