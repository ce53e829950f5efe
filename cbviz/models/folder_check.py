"""Checks of a model's folder before transformers opens it: misleading files, and absurd sizes.

A folder may come from anywhere. Its files must be what their names say, its weights must be inside it, and the number
of layers must be sane: transformers makes a Python object of every layer, even of more than any memory could hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cbviz.checks import one_line, shown
from cbviz.errors import ModelError

OBJECTS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
"""Files that must hold one JSON object each, if they exist."""
INDEX = "model.safetensors.index.json"
MOST_LAYERS = 1000
"""Far more than any published model has; few have more than 100."""


def check_folder(folder: Path) -> None:
    """Raise ModelError for a file that is not valid JSON, and for an index that names files outside the folder.

    transformers ignores a damaged generation_config.json, and follows an index to files anywhere on the machine.
    """
    for name in OBJECTS:
        if (folder / name).is_file():
            _object(folder / name)
    if (folder / INDEX).is_file():
        _check_index(folder, _object(folder / INDEX))


def check_sizes(name: str, config: Any) -> None:
    """Raise ModelError for a configuration with an absurd number of layers, heads or tokens."""
    for key, most in (("num_hidden_layers", MOST_LAYERS), ("num_attention_heads", 10**6), ("vocab_size", 2**31 - 1)):
        value = getattr(config, key, None)
        if isinstance(value, int) and not 1 <= value <= most:
            raise ModelError(f"the configuration of {name} has {key} = {shown(value)}; it must lie from 1 to {most:,}.")


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {one_line(error)}.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it must hold a JSON object, not {shown(content)}.")
    return content


def _check_index(folder: Path, index: dict[str, Any]) -> None:
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError(f"{folder / INDEX} is damaged: it has no weight_map.")
    for file in {shown(place): place for place in places.values()}.values():
        if not isinstance(file, str) or not file.endswith(".safetensors") or set(file) & set("/\\\0"):
            raise ModelError(
                f"{folder / INDEX} names {shown(file)}; weights must be *.safetensors in the folder itself."
            )
        if not (folder / file).is_file():
            raise ModelError(f"the model in {folder} is incomplete: {file}, which its index names, is missing.")
