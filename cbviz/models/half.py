"""Whether a model's activations fit into float16, whose largest value is 65,504.

Models trained in bfloat16 may exceed it (Gemma does). A value that is too large becomes infinite, then NaN, and the
answers silently become nonsense; so one pass is checked before anything is served.
"""

from __future__ import annotations

import torch

from cbviz.checks import one_line
from cbviz.errors import ModelError
from cbviz.models.loaded import LoadedModel

TOKENS = 32
"""Length of the test prompt: the first ids of the vocabulary, among them special tokens and letters."""


@torch.inference_mode()
def check_finite(loaded: LoadedModel) -> None:
    """Raise ModelError if a model in float16 computes logits that are not finite.

    The large values of such models occur in the residual stream of any text, above all at its first token, so a short
    prompt reveals them. Models in other dtypes are not checked.
    """
    if loaded.dtype != torch.float16:
        return
    ids = torch.arange(min(TOKENS, loaded.vocabulary, loaded.context_limit), device=loaded.device)[None]
    try:
        logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # PyTorch's, the model's
        raise ModelError(f"{loaded.name} cannot compute in float16 here: {one_line(error)}; take float32.") from error
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"{loaded.name} computes numbers that float16 cannot hold (its largest is 65,504); take float32, or "
            "bfloat16 where the device has it."
        )
