"""Weight-only int8: the weights of the layers take a byte each, and are turned back into numbers as they are read.

Each row of a weight matrix (one output channel) is stored as whole numbers from -128 to 127 and one scale. A forward
pass computes in the model's own number format, on what the rounding left of the weights; the KV cache is as large as
before. This is the simplest member of the family of AutoGPTQ (GPTQ: Frantar et al., ICLR 2023), which chooses the
rounding by what it does to real inputs. torchao does the work.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cbviz.checks import one_line
from cbviz.errors import ModelError
from cbviz.models.loaded import LoadedModel


def check_int8() -> tuple[Any, Any]:
    """torchao's configuration and its function that applies it. Raises ModelError if torchao is absent or broken."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ModelError("int8 weights need torchao; run: pip install 'cbviz[int8]'") from error
    except Exception as error:  # a torchao of another PyTorch raises anything
        raise ModelError(
            f"int8 weights need a torchao that works here; this one does not: {one_line(error)}."
        ) from error
    return Int8WeightOnlyConfig, quantize_


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
    int8_weights, quantise = check_int8()
    output = loaded.model.get_output_embeddings()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            quantise(
                loaded.model,
                int8_weights(),
                filter_fn=lambda module, _: isinstance(module, nn.Linear) and module is not output,
            )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # torchao's own, PyTorch's, the device's
            raise ModelError(
                f"torchao cannot turn the weights of {loaded.name} into int8 on {loaded.device}: {one_line(error)}; "
                "they may be half done, so load the model again."
            ) from error
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()
    return replace(loaded, weights="int8")
