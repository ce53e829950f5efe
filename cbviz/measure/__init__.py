"""The numbers of a run: latencies, throughput, occupancy, comparisons, and the closed forms that they must agree with.

Everything here reads traces; nothing runs a model.
"""

from typing import Any

from cbviz._moved import moved_name
from cbviz.measure.compare import Comparison, Divergence, compare, same_answers
from cbviz.measure.definitions import by_definition, goodput_by_definition, results_of
from cbviz.measure.explain import CostSplit, Explanation, SpeedupPrediction, explain
from cbviz.measure.goodput import MLPERF, Targets, goodput, meets, within
from cbviz.measure.hardware import decode_floor, kv_bytes_per_token, kv_tokens_per_busy_slot
from cbviz.measure.iteration_cost import speedup_shrinking, speedup_with_prefill
from cbviz.measure.knee import capacity, knee
from cbviz.measure.kv_use import KVShares, kv_shares
from cbviz.measure.latency import Distribution, Latencies, arrival_seconds, latencies
from cbviz.measure.makespan import continuous_iterations, makespan_bounds, static_iterations
from cbviz.measure.price import dollars_per_million_tokens
from cbviz.measure.queueing import LittlesLaw, erlang_c, in_system, littles_law, pollaczek_khinchine, queue_wait
from cbviz.measure.saturation import Saturation, saturation
from cbviz.measure.side_by_side import SideBySide, side_by_side
from cbviz.measure.slot_use import SlotUse, slot_use
from cbviz.measure.stalls import stall_seconds, token_gaps
from cbviz.measure.standings import COMPARED, Standing, first_tokens, longest_gap
from cbviz.measure.summary import Summary, serving_table, summary
from cbviz.measure.theory import (
    harmonic,
    speedup_bound,
    speedup_clipped_exponential,
    speedup_discrete,
    speedup_empirical,
    speedup_exponential,
    speedup_fixed,
    speedup_truncated_exponential,
    speedup_uniform,
)
from cbviz.measure.verdict import RaceVerdict, verdict

__all__ = [
    "COMPARED",
    "MLPERF",
    "Comparison",
    "CostSplit",
    "Distribution",
    "Divergence",
    "Explanation",
    "KVShares",
    "Latencies",
    "LittlesLaw",
    "RaceVerdict",
    "Saturation",
    "SideBySide",
    "SlotUse",
    "SpeedupPrediction",
    "Standing",
    "Summary",
    "Targets",
    "arrival_seconds",
    "by_definition",
    "capacity",
    "compare",
    "continuous_iterations",
    "decode_floor",
    "dollars_per_million_tokens",
    "erlang_c",
    "explain",
    "first_tokens",
    "goodput",
    "goodput_by_definition",
    "harmonic",
    "in_system",
    "knee",
    "kv_bytes_per_token",
    "kv_shares",
    "kv_tokens_per_busy_slot",
    "latencies",
    "littles_law",
    "longest_gap",
    "makespan_bounds",
    "meets",
    "pollaczek_khinchine",
    "queue_wait",
    "results_of",
    "same_answers",
    "saturation",
    "serving_table",
    "side_by_side",
    "slot_use",
    "speedup_bound",
    "speedup_clipped_exponential",
    "speedup_discrete",
    "speedup_empirical",
    "speedup_exponential",
    "speedup_fixed",
    "speedup_shrinking",
    "speedup_truncated_exponential",
    "speedup_uniform",
    "speedup_with_prefill",
    "stall_seconds",
    "static_iterations",
    "summary",
    "token_gaps",
    "verdict",
    "within",
]


def __getattr__(name: str) -> Any:
    return moved_name("measure", name)
