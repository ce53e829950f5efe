"""How our attention gets into transformers' own modelling code.

transformers looks its attention function up by name in a registry. We register one that writes the new keys and values
into our cache and asks our backend for the result. Configurations that name it belong to the engine's own copy of the
modules (`serving`): the caller's model continues to call what it called before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypedDict, Unpack

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from cbviz._moved import moved_name
from cbviz.errors import EngineError
from cbviz.models.needs import AttentionNeeds

ATTENTION_NAME = "cbviz"


class Scoring(TypedDict):
    """How a layer scores keys; `softcap` and `sinks` are those of `cbviz.models.plain_attention`."""

    scale: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None


class AttentionPass(Protocol):
    """What one forward pass carries to every attention layer, as the keyword argument `cbviz_pass`."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **scoring: Unpack[Scoring]) -> Tensor:
        """[1, heads, T, size] each; write keys and values, and return [1, T, query heads, value size].

        Layers ask in the order in which the probe met them (`AttentionNeeds.layers`).
        """
        ...


@contextmanager
def working_on(here: threading.local, work: object) -> Iterator[None]:
    """Within the block `here.work` is this, in this thread alone: the way past code that hands nothing on."""
    here.work = work
    try:
        yield
    finally:
        here.work = None


_here = threading.local()
"""The pass to which this thread's attention calls belong, if the model does not hand it on itself."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    cbviz_pass: AttentionPass | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The registered function. Masks, windows and unknown keywords were judged by the probe."""
    if cbviz_pass is None:
        cbviz_pass = _here.work
    output = cbviz_pass.attend(
        query,
        key,
        value,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=module.cbviz_window,  # type: ignore[arg-type]
        softcap=softcap,
        sinks=s_aux,
    )
    return output, None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION_NAME, attention)


def logits_of(
    copied: PreTrainedModel,
    needs: AttentionNeeds,
    ids: Tensor,
    position: Tensor,
    keep: Tensor | None,
    attention_pass: AttentionPass,
) -> Tensor:
    """[D or T, vocabulary]: logits of one forward pass of a serving copy over a packed row.

    `ids` and `position` are int64 [1, T]: tokens, and each one's position in its own request. `keep` is int64 [D]: the
    tokens whose logits are wanted; None wants all. Attention goes to `attention_pass`.
    """
    arguments: dict[str, Any] = {}
    if "logits_to_keep" in needs.keywords:
        arguments["logits_to_keep"] = 0 if keep is None else keep
    if "cbviz_pass" in needs.keywords:
        arguments["cbviz_pass"] = attention_pass
    with working_on(_here, attention_pass):
        logits: Tensor = copied(input_ids=ids, position_ids=position, use_cache=False, **arguments).logits[0]
    return logits if keep is None or "logits_to_keep" in needs.keywords else logits[keep]


def check_calls(needs: AttentionNeeds, calls: int) -> None:
    """Raise EngineError if a pass attended otherwise than the probe saw."""
    if calls != len(needs.layers):
        raise EngineError(
            f"this {needs.kind!r} model attended {calls} times in a pass and {len(needs.layers)} times when it was "
            "made ready; this engine serves models that attend equally often in every pass."
        )


def __getattr__(name: str) -> Any:
    return moved_name("eager.attention_hook", name)
