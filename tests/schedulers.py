"""The schedulers that the tests of all policies go through, with default and with tight parameters."""

from __future__ import annotations

from collections.abc import Callable

from cbviz.policies import (
    POLICIES,
    TGI,
    VTC,
    Admit,
    Orca,
    Plan,
    Policy,
    RequestLevel,
    Sarathi,
    ShortestFirst,
    Static,
    VllmV0,
    VllmV1,
)

UNDER_TEST: dict[str, Callable[[], Policy]] = {
    **POLICIES,
    "static_to_8": lambda: Static(run_to=8),
    "request_level_tight": lambda: RequestLevel(batch_size=2, window=3),
    "orca_power_of_two": lambda: Orca("power_of_two"),
    "orca_maximum": lambda: Orca("maximum"),
    "tgi_eager": lambda: TGI(waiting_served_ratio=1, max_waiting_tokens=4, max_batch_total_tokens=20),
    "tgi_padded": lambda: TGI(padded=True, max_batch_prefill_tokens=30),
    "vllm_v0_watermark": lambda: VllmV0(watermark=0.2),
    "vllm_v0_budget": lambda: VllmV0(max_num_batched_tokens=30),
    "vllm_v1_tight": lambda: VllmV1(max_num_batched_tokens=4),
    "vllm_v1_rash": lambda: VllmV1(5, long_prefill_token_threshold=2, reserve_full_sequence=False),
    "vllm_v1_priority": lambda: VllmV1(5, reserve_full_sequence=False, priority={i: i % 3 for i in range(99)}),
    "sarathi_tight": lambda: Sarathi(chunk_size=3, watermark=0.1),
    "shortest_first_aged": lambda: ShortestFirst(slo=6),
    "shortest_first_estimate": lambda: ShortestFirst("estimate", {i: 1 + i % 4 for i in range(0, 99, 2)}, slo=20),
    "vtc_outputs_only": lambda: VTC(input_weight=0),
}


def admissions(plan: Plan) -> list[Admit]:
    return [a if isinstance(a, Admit) else Admit(a if isinstance(a, int) else a.id) for a in plan.admit]


def spelled(plan: Plan) -> tuple[object, ...]:
    """A plan in a form that can be compared."""
    hold = plan.hold if isinstance(plan.hold, str) else tuple(plan.hold)
    return admissions(plan), hold, dict(plan.preempt), dict(plan.pause), dict(plan.chunk), plan.wait_until
