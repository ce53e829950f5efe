"""Whether a model's numbers fit into float16, whose largest is 65,504.

Models that were trained in bfloat16 may go beyond it inside (Gemma's do). What is too large becomes infinite, then not
a number, and the answers are nonsense without a word; so one pass is looked at before anything is served.
"""

from __future__ import annotations

import torch

from cbviz.checks import one_line
from cbviz.errors import ModelError
from cbviz.models.loaded import LoadedModel

TOKENS = 32
"""Length of the text that is read: the first ids of the vocabulary, which hold the special tokens and the letters."""


@torch.inference_mode()
def check_finite(loaded: LoadedModel) -> None:
    """Raise ModelError if a model in float16 computes anything but finite logits for a short text.

    The large values of such models stand in the residual stream of any text, most of all at its first token, which is
    why a short one shows them. Models in other formats are not looked at.
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
