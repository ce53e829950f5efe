"""Weight-only int8: the weights of the layers take a byte each, and are turned back into numbers as they are read.

Each row of a weight matrix (one output channel) is stored as whole numbers from -128 to 127 and one scale. A forward
pass computes in the model's own number format, on what the rounding left of the weights; the KV cache is as large as
before. This is the simplest member of the family of AutoGPTQ (GPTQ: Frantar et al., ICLR 2023), which chooses the
rounding by what it does to real inputs. torchao does the work.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import nn

from cbviz.errors import ModelError
from cbviz.models.loaded import LoadedModel


def quantised(loaded: LoadedModel) -> LoadedModel:
    """Turn the weights of all linear layers but the output layer into int8, in place; return the model's new record.

    Embeddings and the output layer, which often are one table, stay as they are: the usual choice, for they are looked
    up or decide the answer directly.

    Raises
    ------
    ModelError
        torchao is not installed, or the model is quantised already.
    """
    if loaded.weights:
        raise ModelError(f"the weights of {loaded.name} are {loaded.weights} already.")
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ModelError("int8 weights need torchao; run: pip install 'cbviz[int8]'") from error
    output = loaded.model.get_output_embeddings()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(
            loaded.model,
            Int8WeightOnlyConfig(),
            filter_fn=lambda module, _: isinstance(module, nn.Linear) and module is not output,
        )
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()
    return replace(loaded, weights="int8")
