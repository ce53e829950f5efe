"""What an executor takes from a model before its first step: a copy to compute with, its limits, its END."""

from __future__ import annotations

from transformers import PreTrainedModel

from cbviz.eager.attention_hook import ATTENTION_NAME
from cbviz.errors import CapacityError
from cbviz.models.modules import twin
from cbviz.models.needs import AttentionNeeds


def serving_copy(model: PreTrainedModel, needs: AttentionNeeds) -> PreTrainedModel:
    """The engine's own modules over the model's weights; their attention is ours, with the windows the probe saw."""
    copied = twin(model, ATTENTION_NAME)
    for layer in needs.layers:
        copied.get_submodule(layer.module).cbviz_window = layer.window
    return copied


def checked_limit(needs: AttentionNeeds, limit: int | None) -> int:
    """The most positions a request may have: what the model can serve, or a smaller one. Raises CapacityError."""
    if limit is not None and limit > needs.context_limit:
        why = f": {needs.limit_reason}" if needs.limit_reason else ""
        raise CapacityError(f"a context of {limit} is more than the {needs.context_limit} that the model has{why}.")
    return limit or needs.context_limit


def vocabulary_rows(model: PreTrainedModel) -> int:
    """Rows of a model's embedding: ids beyond them would read foreign memory, or stop a GPU for good."""
    return int(model.get_input_embeddings().weight.shape[0])
