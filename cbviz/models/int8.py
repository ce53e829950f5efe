"""Weight-only int8: each weight of the layers takes one byte, and is dequantised when it is read.

Each row of a weight matrix (one output channel) is stored as integers from -128 to 127 and one scale. A forward pass
computes in the model's own dtype with the rounded weights; the KV cache keeps its size. This is the simplest relative
of AutoGPTQ (GPTQ: Frantar et al., ICLR 2023), which chooses the rounding by its effect on real inputs. torchao does the
work.
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
    """torchao's configuration and the function that applies it. Raises ModelError if torchao is missing or broken."""
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
    """Quantise the weights of all linear layers except the output layer to int8, in place.

    Embeddings and the output layer, often one table, stay unchanged. This is the usual choice, because they are looked
    up or decide the answer directly.

    Parameters
    ----------
    loaded
        The model; its modules change.

    Returns
    -------
    LoadedModel
        The same model, marked as int8.

    Raises
    ------
    ModelError
        torchao is missing or fails, or the model is already quantised.
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
