"""What the page takes from the Python package: the built-in model, its tokenizer and the facts of its tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cbviz.workload import capitals, tasks

TINY = Path(tasks.__file__).parents[1] / "models" / "tiny"


def facts() -> dict[str, Any]:
    """What the tasks are made of (`Facts` in `web/workload/tasks.js`)."""
    return {
        "words": tasks.WORDS,
        "states": capitals.STATES,
        "countries": capitals.COUNTRIES,
        "months": tasks.MONTHS,
        "days": tasks.DAYS,
        "mostCounted": tasks.MOST_COUNTED,
        "mostRepeats": tasks.MOST_REPEATS,
    }


def model() -> dict[str, Any]:
    """Everything but the weights: configuration, tokenizer and facts."""
    return {
        "config": json.loads((TINY / "config.json").read_text("utf-8")),
        "tokenizer": json.loads((TINY / "tokenizer.json").read_text("utf-8")),
        "facts": facts(),
    }


def weights() -> bytes:
    """The weights as they ship: safetensors in bfloat16."""
    return (TINY / "model.safetensors").read_bytes()
