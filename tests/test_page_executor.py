"""The page's forward pass gives torch's logits, with the WebAssembly kernel and in plain JavaScript."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.page import in_node, tiny

PROMPTS = ["Count to 37", "Reverse banana", "The capital of California?", "Repeat ab 12 times", "Sort zebra"]
LONG = [int(t) for t in np.random.default_rng(0).integers(3, 99, 383)]
"""As long as the context: every position and every angle takes part."""


def sequences() -> list[list[int]]:
    return [*(tiny().encode(prompt) for prompt in PROMPTS), LONG, LONG[:65]]


@pytest.fixture(scope="module")
def ours() -> Any:
    return in_node("executor.mjs", {"sequences": sequences()})


@pytest.fixture(scope="module")
def theirs() -> list[np.ndarray[Any, Any]]:
    with torch.inference_mode():
        return [tiny().model(torch.tensor([ids])).logits[0, -1].numpy() for ids in sequences()]


@pytest.mark.parametrize("way", ["fast", "plain"])
@pytest.mark.parametrize("passed", ["together", "alone"])
def test_logits_are_torchs_within_the_rounding_of_float32(ours: Any, theirs: Any, way: str, passed: str) -> None:
    assert ours[way]["simd"] is (way == "fast")
    for mine, reference in zip(ours[way][passed], theirs, strict=True):
        assert np.abs(np.array(mine) - reference).max() < 2e-4 * max(1.0, np.abs(reference).max())
        assert int(np.argmax(mine)) == int(np.argmax(reference))
