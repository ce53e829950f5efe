"""What a run amounts to: latencies, throughput, occupancy, comparisons, and the closed forms they must agree with.

Everything here reads traces and runs nothing.
"""

from cbviz.measure.bars import Bars
from cbviz.measure.chart import Chart
from cbviz.measure.charts import kv_over_time, latency_cdf, occupancy_over_time, roofline, throughput_by_variance
from cbviz.measure.compare import Comparison, Divergence, compare, same_answers
from cbviz.measure.explain import CostSplit, Explanation, Prediction, explain
from cbviz.measure.goodput import MLPERF, Targets, goodput, meets
from cbviz.measure.hardware import decode_floor, kv_bytes_per_token, kv_tokens_per_busy_slot
from cbviz.measure.kv_use import KVShares, kv_shares
from cbviz.measure.latency import Distribution, Latencies, arrival_seconds, latencies
from cbviz.measure.queueing import erlang_c, in_system, pollaczek_khinchine, queue_wait
from cbviz.measure.side_by_side import SideBySide, side_by_side
from cbviz.measure.slot_use import SlotUse, slot_use
from cbviz.measure.stalls import stall_seconds, token_gaps
from cbviz.measure.summary import Summary, serving_table, summary
from cbviz.measure.theory import (
    continuous_iterations,
    harmonic,
    makespan_bounds,
    speedup_bound,
    speedup_clipped_exponential,
    speedup_discrete,
    speedup_empirical,
    speedup_exponential,
    speedup_fixed,
    speedup_shrinking,
    speedup_truncated_exponential,
    speedup_uniform,
    speedup_with_prefill,
    static_iterations,
)

__all__ = [
    "MLPERF",
    "Bars",
    "Chart",
    "Comparison",
    "CostSplit",
    "Distribution",
    "Divergence",
    "Explanation",
    "KVShares",
    "Latencies",
    "Prediction",
    "SideBySide",
    "SlotUse",
    "Summary",
    "Targets",
    "arrival_seconds",
    "compare",
    "continuous_iterations",
    "decode_floor",
    "erlang_c",
    "explain",
    "goodput",
    "harmonic",
    "in_system",
    "kv_bytes_per_token",
    "kv_over_time",
    "kv_shares",
    "kv_tokens_per_busy_slot",
    "latencies",
    "latency_cdf",
    "makespan_bounds",
    "meets",
    "occupancy_over_time",
    "pollaczek_khinchine",
    "queue_wait",
    "roofline",
    "same_answers",
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
    "throughput_by_variance",
    "token_gaps",
]
