"""`EngineConfig` takes what an engine can be made from, and answers anything else with one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cbviz.config import EngineConfig
from cbviz.errors import CbvizError
from cbviz.models import load
from cbviz.run.how import choose_backend


def test_values_become_plain() -> None:
    config = EngineConfig(np.int64(4), np.int32(60), 16, lag=np.int64(1), context_limit=np.int64(99))  # type: ignore[arg-type]
    assert (config.slots, config.blocks, config.block_size, config.lag, config.context_limit) == (4, 60, 16, 1, 99)
    assert {type(config.slots), type(config.blocks), type(config.lag)} == {int}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("slots", (-1, 0, "2", None, 2.5, True, 10**9)),
        ("blocks", (-5, 0, "x", 2.5, None, 10**12)),
        ("block_size", (None, 0, "16", True, 10**9)),
        ("context_limit", (-3, 0, "x", True)),
        ("kv", (None, {}, "paged")),
        ("lag", (True, 2, -1, "1", None)),
        ("backend", ("cuda", None, 3, "", b"sdpa", np.array(["sdpa", "graphs"]))),
        ("compiled", ("yes", 1, None)),
        ("ignore_generation_config", ("no", 0)),
    ],
)
def test_nonsense_is_answered_with_one_sentence(field: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(CbvizError, match=rf"^{field} must be [^\n]*\.$"):
            EngineConfig(**{"slots": 4, "blocks": 60, "block_size": 16, field: value})


class Hostile:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("value", [np.array(["sdpa", "graphs"]), Hostile(), 3, "", True, b"sdpa"])
def test_a_backend_is_chosen_by_its_name(value: Any) -> None:
    with pytest.raises(CbvizError, match=r"^backend must be one of sdpa, graphs for this model on cpu, not "):
        choose_backend(load("tiny", device="cpu"), value)
