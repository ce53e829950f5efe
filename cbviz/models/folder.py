"""Load a causal language model from a folder in the Hugging Face format: config.json, *.safetensors, a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cbviz.errors import CbvizError, ModelError
from cbviz.models.device import check_fit
from cbviz.models.folder_check import check_folder, check_sizes
from cbviz.models.loaded import LoadedModel
from cbviz.models.modules import drops_cap

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_folder(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Load the model in `folder`. Weights stored in another dtype are converted to `dtype`.

    Only safetensors are read: nothing is unpickled, and no code from the folder runs.

    Raises
    ------
    ModelError
        The folder has no model, or the model is damaged, incomplete, of an unknown type, or not a text decoder.
    CapacityError
        The model does not fit into the device's free memory.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"there is no model in {folder}: a model's folder holds a config.json.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"the model in {folder} has no *.safetensors; pickled weights are not opened.")
    check_folder(folder)
    try:
        with quiet_transformers():
            model = _weights(name, folder, device, dtype)
            tokenizer = _tokenizer(folder)
    except CbvizError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors each raise their own
        raise ModelError(f"cannot load {name} from {folder}: {first_line(error)}") from error
    return ready(name, model, tokenizer, device, dtype)


def ready(name: str, model: Any, tokenizer: Any, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Put a model into evaluation mode, without gradients, on its device."""
    model.requires_grad_(False)
    if drops_cap(model):
        model.set_attn_implementation("eager")
    return LoadedModel(name, model.eval().to(device), tokenizer, device, dtype)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if there is none, as one sentence of a message.

    A first line that ends in a colon includes the next one, and a missing key is named as such.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, KeyError):
        return f"there is no {lines[0]}"
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers within the block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _weights(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    # Without trust_remote_code=False transformers would prompt on the terminal to run the folder's code.
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    check_sizes(name, config.get_text_config())
    if config.is_encoder_decoder:
        raise ModelError(f"{name} is of type {config.model_type!r}, which has an encoder; a causal LM is needed.")
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    check_fit(name, sum(p.numel() for p in outline.parameters()), dtype, device)
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    # transformers fills missing weights with random numbers; a teaching tool must not answer with those.
    lacking = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind])
    if lacking:
        raise ModelError(f"the weights of {name} do not match its config.json: {lacking[0]} is missing or misshapen.")
    return model


def _tokenizer(folder: Path) -> Any:
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
