"""A real chat model: batched answers equal one-at-a-time generation, or part at a near tie, which is then reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.models import load
from cbviz.policies import Continuous, Static
from cbviz.run.answers import top_two_gap
from cbviz.run.capacity import kv_blocks_for
from cbviz.workload.questions import question_workload

NEAR_TIE = 1e-3
"""Gap of the two best logits below which rounding may turn a choice around (float32; logits agree within 6e-5)."""


@pytest.mark.download
def test_smollm2_answers_as_alone(record_property: Callable[[str, object], None]) -> None:
    loaded = load("smollm2-135m", device="cpu", progress=False)
    work = question_workload(loaded.encode, 6, seed=3, max_new_tokens=20)
    alone = {}
    for request in work:
        prompt = torch.tensor([request.prompt])
        with torch.inference_mode():
            answer = loaded.model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=20, pad_token_id=0
            )
        alone[request.id] = answer[0, len(request.prompt) :].tolist()
    blocks = kv_blocks_for(work, 3, 16)
    gaps = []
    for policy in (Static(), Continuous()):
        pool = BlockPool(blocks, 16)
        executor = ModelExecutor(loaded.model, slots=3, pool=pool, end_tokens=loaded.end_tokens)
        engine = Engine(executor, policy, slots=3, pool=pool)
        assert list(engine.run(work))
        for request in work:
            mine, right = engine.output(request.id), alone[request.id]
            if mine != right:
                place = next(i for i, (a, b) in enumerate(zip(mine, right, strict=False)) if a != b)
                gaps.append(top_two_gap(loaded.model, [*request.prompt, *right[:place]]))
    record_property("gaps at divergences", gaps)
    assert all(gap < NEAR_TIE for gap in gaps), gaps
